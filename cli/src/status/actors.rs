//! Who takes part, as rows of the table: those in trouble first, since a terminal may have no room for all.

use super::table::speed;
use super::view::{Actor, View};
use common::{ActorState, Presence};

/// How an actor is doing; one of a learner that does not say whether it takes part is taken to.
fn state(actor: &Actor, is_over: bool) -> ActorState {
    let presence = actor.presence.unwrap_or(Presence::Here);
    ActorState::of(
        presence,
        actor.quarantine.is_some(),
        actor.waiting_for.is_some(),
        is_over,
    )
}

fn word(state: ActorState) -> &'static str {
    match state {
        ActorState::Quarantined => "quarantined",
        ActorState::Gone => "gone",
        ActorState::Waiting => "waiting",
        ActorState::Silent => "silent",
        ActorState::Working => "at work",
        ActorState::Left => "left",
    }
}

fn why(state: ActorState, actor: &Actor) -> String {
    match state {
        ActorState::Quarantined => actor.quarantine.clone().unwrap_or_default(),
        ActorState::Gone => "its connection is closed".into(),
        ActorState::Waiting => format!("for {}", actor.waiting_for.as_deref().unwrap_or_default()),
        ActorState::Silent => format!("for {:.0} s: longer than a lease lasts", actor.silent_s),
        ActorState::Working | ActorState::Left => String::new(),
    }
}

/// How many have not gone or left.
pub(super) fn taking_part(view: &View) -> usize {
    view.actors.iter().filter(|actor| !is_away(actor)).count()
}

fn is_away(actor: &Actor) -> bool {
    actor.presence.is_some_and(Presence::is_away)
}

/// A row an actor below a head.
pub(super) fn rows(view: &View) -> Vec<String> {
    let shown = view
        .actors
        .iter()
        .filter(|actor| !(is_away(actor) && actor.silent_s > Presence::FORGOTTEN_AFTER.as_secs_f64()));
    let mut shown: Vec<(ActorState, &Actor)> =
        shown.map(|actor| (state(actor, view.complete), actor)).collect();
    // Within a state they stay in the order of their names.
    shown.sort_by_key(|(state, _)| *state);
    let names = shown.iter().map(|(_, actor)| actor.actor.chars().count());
    let width = names.max().unwrap_or(0).clamp(5, 40);
    let mut lines = vec![String::new()];
    lines.push(format!(
        "{:<width$}  {:<11}  {:>8}  {:>6}  {:>7}  {:<12}  {:>8}  {:>6}",
        "actor", "state", "version", "behind", "adopted", "canary", "outcomes", "per s"
    ));
    lines.extend(shown.iter().map(|(state, actor)| row(*state, actor, width)));
    match view.actors.len() - shown.len() {
        0 if shown.is_empty() => lines.push("(none has joined)".into()),
        0 => {}
        forgotten => lines.push(format!(
            "({forgotten} that went more than {} minutes ago are not shown)",
            Presence::FORGOTTEN_AFTER.as_secs() / 60
        )),
    }
    lines
}

fn row(state: ActorState, actor: &Actor, width: usize) -> String {
    let behind = actor.behind.map_or("-".into(), |behind| behind.to_string());
    let row = format!(
        "{:<width$}  {:<11}  {:>8}  {behind:>6}  {:>7}  {:<12}  {:>8}  {:>6}  {}",
        shortened(&actor.actor, width),
        word(state),
        actor.version.as_deref().unwrap_or("-"),
        actor.adoptions,
        actor.canary.unwrap_or("-"),
        actor.outcomes,
        speed(actor.outcomes_per_s),
        why(state, actor),
    );
    row.trim_end().to_owned()
}

/// A name in so many characters: both its ends, for those of pods differ in the last ones.
fn shortened(name: &str, width: usize) -> String {
    let all: Vec<char> = name.chars().collect();
    if all.len() <= width {
        return name.to_owned();
    }
    let (begin, end) = (width / 3, width - width / 3 - 1);
    let (begin, end) = (&all[..begin], &all[all.len() - end..]);
    begin.iter().chain(&['…']).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{reading_of, run_status};
    use super::*;
    use proto::pb;
    use proto::pb::ActorPresence::{Gone, Here, Left, Silent, Unspecified};

    fn view(change: impl FnOnce(&mut pb::RunStatus)) -> View {
        let mut now = run_status(130, 60);
        change(&mut now);
        View::of(&reading_of(2.0, now), None)
    }

    #[test]
    fn columns_hold_whatever_the_names_are_and_long_ones_are_told_apart_by_their_ends() {
        let pods = ["abcde", "abxyz"].map(|pod| format!("actor-{}-{pod}", "x".repeat(110)));
        let rows = rows(&view(|now| {
            for (actor, pod) in now.actors.iter_mut().zip(&pods) {
                actor.actor_id = pod.clone();
            }
        }));
        let at = |row: &String, word: &str| Some(row[..row.find(word)?].chars().count());
        let states = [("state", 1), ("at work", 2), ("at work", 3)].map(|(word, row)| at(&rows[row], word));
        assert_eq!(states, [Some(42); 3], "{rows:#?}");
        assert!(
            rows[2].contains("-abcde  ") && rows[3].contains("-abxyz  "),
            "{rows:#?}"
        );
    }

    #[test]
    fn who_is_gone_is_not_at_work_and_comes_before_who_is_and_who_went_long_ago_is_counted_only() {
        let seen = [
            ("a", Here, 0),
            ("b", Left, 1),
            ("c", Silent, 70),
            ("d", Gone, 2),
            ("e", Gone, 901),
            ("f", Unspecified, 0),
            ("barred", Left, 3),
        ];
        let all = seen.map(|(id, presence, seconds)| pb::ActorStatus {
            quarantine: if id == "barred" {
                "other weights".into()
            } else {
                String::new()
            },
            actor_id: id.into(),
            presence: presence.into(),
            silent_ms: 1000 * seconds,
            ..Default::default()
        });
        let told = |complete| {
            let view = view(|now| (now.actors, now.complete) = (all.to_vec(), complete));
            (taking_part(&view), rows(&view)[2..].to_vec())
        };
        let (taking_part, rows) = told(false);
        let expected = [
            ("barred  quarantined  ", "  other weights"),
            ("d       gone  ", "  its connection is closed"),
            ("c       silent  ", "  for 70 s: longer than a lease lasts"),
            ("a       at work  ", ""),
            ("f       at work  ", ""),
            ("b       left  ", ""),
            ("(1 that went more than 15 minutes ago", " are not shown)"),
        ];
        assert_eq!((taking_part, rows.len()), (3, expected.len()), "{rows:#?}");
        for (row, (begin, end)) in rows.iter().zip(expected) {
            assert!(row.starts_with(begin) && row.ends_with(end), "{rows:#?}");
        }
        let over = told(true).1;
        assert!(
            over.iter().any(|row| row.starts_with("d       left")),
            "{over:#?}"
        );
    }
}
