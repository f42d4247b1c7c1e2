//! Log lines as JSON: whoever reads them makes the same of each.

use crate::stage::{command, port};
use crate::unique_keys;
use serde_json::Value;
use std::collections::BTreeSet;

/// That each line of a run's log is an event, of more than one trace.
pub(crate) fn lines_are_json(said: &str) {
    let lines = said.lines().map(event);
    let trace = |line: Value| line["span"]["trace_id"].as_str().map(str::to_owned);
    let traces: BTreeSet<_> = lines.filter_map(trace).collect();
    assert!(traces.len() > 1, "{said}");
}

/// A line of a log, of which every reader makes the same.
fn event(line: &str) -> Value {
    let event = unique_keys::read(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    for key in ["timestamp", "level", "target", "message"] {
        assert!(event[key].is_string(), "{key}: {line}");
    }
    event
}

#[test]
fn what_is_logged_of_a_service_that_is_away_has_each_key_once_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let learner = format!("--learner=http://127.0.0.1:{}", port());
    let arguments = ["actor", "--listen=127.0.0.1:0", &learner];
    let settings = [
        "--set=telemetry.log_format=json",
        "--set=actor.learner_timeout_s=2",
    ];
    let output = command(directory.path(), &arguments)
        .args(settings)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let events: Vec<Value> = said.lines().map(event).collect();
    let (end, error) = (&events[events.len() - 1], "learner at http://127.0.0.1:");
    assert!(
        end["level"] == "ERROR" && end["error"].as_str().is_some_and(|said| said.contains(error)),
        "{end}"
    );
    let waits = |event: &&Value| event["message"] == "waiting: the peer does not serve";
    let waited = events.iter().find(waits).unwrap_or_else(|| panic!("{said}"));
    assert!(
        waited["error"].as_str().is_some_and(|error| !error.is_empty()) && waited["code"] == "Unavailable",
        "{waited}"
    );
}
