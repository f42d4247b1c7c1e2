//! Requests to a reward-server.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::knock(
    &[
        "ScoreGroupsRequest",
        "GetRewardModelRequest",
        "GetServerStatusRequest"
    ],
    bytes
));
