//! What an actor is answered.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::knock(
    &[
        "PolicyManifest",
        "LeaseTasksResponse",
        "ScoreGroupsResponse",
        "GenerateGroupResponse"
    ],
    bytes
));
