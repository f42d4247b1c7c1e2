//! Requests to a learner.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::knock(
    &[
        "JoinRequest",
        "LeaseTasksRequest",
        "SubmitOutcomesRequest",
        "ReturnTasksRequest",
        "WatchPolicyRequest",
        "FetchArtifactRequest",
        "ReportAdoptionRequest",
        "ReportEvaluationRequest",
        "GetRunStatusRequest"
    ],
    bytes
));
