//! What a role is answered.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::knock(
    &[
        "JoinResponse",
        "PolicyManifest",
        "ArtifactChunk",
        "LeaseTasksResponse",
        "SubmitOutcomesResponse",
        "ReturnTasksResponse",
        "ReportAdoptionResponse",
        "ReportEvaluationResponse",
        "RunStatus",
        "ScoreGroupsResponse",
        "RewardModel",
        "RewardServerStatus",
        "GenerateGroupResponse",
        "ImageGenerator"
    ],
    bytes
));
