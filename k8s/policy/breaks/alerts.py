"""Breaks of alerts, which their trials must notice: an alert that never fires, one that fires at once, and one for each clause and each
threshold."""

from collections import namedtuple

Break = namedtuple("Break", "alert what change")
COMPLETE = "unless on (namespace, pod) (learner_run_complete == 1)"
# (alert, what, words of its expression, what is there instead)
CLAUSES = (
    ("AdwrightRunFailed", "forgotten with its process", "[15m]", "[1m]"),
    ("AdwrightRunFailed", "remembered for ever", "[15m]", "[15h]"),
    ("AdwrightRunFailed", "whatever it says", "== 1", ">= 0"),
    ("AdwrightLearnerAway", "calls do not count", "[5m]) > 0", "[5m]) > 1e9"),
    ("AdwrightLearnerAway", "calls of anybody", 'peer="learner"', 'peer=~".+"'),
    ("AdwrightLearnerAway", "actors without a policy do not count", 'up{role="actor"} == 1', 'up{role="actor"} == 2'),
    ("AdwrightLearnerAway", "those with one do", "unless on (namespace, pod) weights_policy_version", ""),
    ("AdwrightLearnerAway", "those of a complete run do", COMPLETE, ""),
    ("AdwrightLearnerAway", "the learner is there", 'unless count by (namespace) (up{role="learner"} == 1)', ""),
    ("AdwrightLearnerAway", "the learner is known", '(up{role="learner"} == 1)', '(up{role="learner"})'),
    ("AdwrightNoPublish", "after ten hours", "offset 60m", "offset 600m"),
    ("AdwrightNoPublish", "after half an hour", "offset 60m", "offset 30m"),
    ("AdwrightNoPublish", "a rollback counts as a version", "<= max", "== max"),
    ("AdwrightNoPublish", "a complete run", 'and max by (namespace) (learner_run_complete{role="learner"}) == 0', ""),
    ("AdwrightNoPublish", "actors have word too", 'learner_run_complete{role="learner"}', "learner_run_complete"),
    ("AdwrightNoPublish", "versions of actors", 'weights_policy_version{role="learner"}', "weights_policy_version"),
    ("AdwrightNoPublish", "by pods", "max by (namespace)", "max by (namespace, pod)"),
    ("AdwrightGoodputLow", "a tenth", "< 0.3", "< 0.1"),
    ("AdwrightGoodputLow", "a half", "< 0.3", "< 0.5"),
    ("AdwrightGoodputLow", "a complete run", "and on (namespace, pod) (learner_run_complete == 0)", ""),
    ("AdwrightGoodputLow", "before the first version", "and on (namespace, pod) (weights_policy_version > 0)", ""),
    ("AdwrightLedgerFlushSlow", "half of them", "0.99", "0.5"),
    ("AdwrightLedgerFlushSlow", "half a minute", "> 2", "> 30"),
    ("AdwrightLedgerFlushSlow", "half a second", "> 2", "> 0.5"),
    ("AdwrightCertificateEnds", "an hour", "24 * 3600", "3600"),
    ("AdwrightCertificateEnds", "a month", "24 * 3600", "30 * 24 * 3600"),
    ("AdwrightActorQuarantined", "others", 'state="quarantined"', 'state="waiting"'),
    ("AdwrightActorQuarantined", "none", "> 0", ">= 0"),
    ("AdwrightActorQuarantined", "many", "> 0", "> 2"),
    ("AdwrightLeasesExpire", "one for one", "0.1 *", "1 *"),
    ("AdwrightLeasesExpire", "one for a hundred", "0.1 *", "0.01 *"),
    ("AdwrightLeasesExpire", "a few", "> 10", "> 1"),
    ("AdwrightLeasesExpire", "many", "> 10", "> 100"),
    ("AdwrightLeasesExpire", "actors' outcomes", 'rollout_outcomes_total{role="learner"}', "rollout_outcomes_total"),
    ("AdwrightRewardUnavailable", "none does no harm", 'up{role="actor"} == 1', 'up{role="actor"} == 2'),
    ("AdwrightRewardUnavailable", "actors that are gone", 'up{role="actor"} == 1', 'up{role="actor"} >= 0'),
    ("AdwrightRewardUnavailable", "it is known", 'up{role="reward-server"} == 1', 'up{role="reward-server"}'),
    (
        "AdwrightRewardUnavailable",
        "it is there",
        '== 1) unless count by (namespace) (up{role="reward-server"}',
        "== 1) unless count by (namespace) (up",
    ),
    ("AdwrightRewardUnavailable", "one in a second", "> 0.2", "> 1"),
    ("AdwrightRewardUnavailable", "one in a minute", "> 0.2", "> 0.016"),
    ("AdwrightRewardUnavailable", "calls of anybody", 'peer="reward-server"', 'peer=~".+"'),
    ("AdwrightColdStartStalled", "those with a policy", "unless on (namespace, pod) weights_policy_version", ""),
    (
        "AdwrightColdStartStalled",
        "one of its name elsewhere",
        "unless on (namespace, pod) weights",
        "unless on (pod) weights",
    ),
    (
        "AdwrightColdStartStalled",
        "one beside it",
        "unless on (namespace, pod) weights",
        "unless on (namespace) weights",
    ),
    ("AdwrightColdStartStalled", "those of a complete run", COMPLETE, ""),
    ("AdwrightColdStartStalled", "every role", 'up{role="actor"}', "up"),
    ("AdwrightColdStartStalled", "those that are gone", "== 1) unless", ">= 0) unless"),
)


def replaced(old, new):
    return lambda alert: {**alert, "expr": alert["expr"].replace(old, new)}


def of(names):
    """All breaks, for alerts of these names."""
    found = [Break(alert, what, replaced(old, new)) for alert, what, old, new in CLAUSES]
    for name in names:
        found.append(Break(name, "never", lambda alert: {**alert, "expr": f"({alert['expr']}) and vector(1)"}))
        found.append(Break(name, "at once", lambda alert: {**alert, "for": "0s"}))
        found.append(Break(name, "after a day", lambda alert: {**alert, "for": "1d"}))
        found.append(Break(name, "no severity", lambda alert: {**alert, "labels": {}}))
        found.append(Break(name, "nothing to say", lambda alert: {**alert, "annotations": {}}))
    return found
