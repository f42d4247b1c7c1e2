//! What is counted of a lease, and how many tasks the next one has.

use super::*;
use common::{Blame, RolloutOutcome};

const MIB: usize = 1 << 20;

/// Completions take 256 bytes a task.
fn room(most: usize) -> Room {
    Room::new(most, 2, 4)
}

fn pictures(bytes: usize) -> Raw {
    Raw {
        pictures: bytes,
        ..Raw::default()
    }
}

/// Whom a failure that may pass blames.
fn blame(failure: Failure) -> Blame {
    match failure.outcome(common::TaskId(3)) {
        RolloutOutcome::Failed {
            retryable: true,
            blame,
            ..
        } => blame,
        outcome => panic!("{outcome:?}"),
    }
}

/// Takes a group with so many bytes of pictures and of PNG to its end.
fn group(room: &Room, task: &ByteCharge, cut_out: usize, raw: usize, png: usize) -> Result<(), Failure> {
    let mut making = room.make(cut_out)?;
    room.made(&mut making, pictures(raw))?;
    room.encoded(task, making, png)
}

#[test]
fn by_default_a_lease_of_usual_pictures_has_room() {
    let config = ActorConfig::default();
    assert_eq!(
        Room::of(&config).tasks(config.tasks_per_lease),
        config.tasks_per_lease
    );
}

#[test]
fn as_many_tasks_are_leased_as_have_room_by_the_largest_so_far_and_at_least_one() {
    let room = room(64 * MIB);
    // Before anything is known, pictures are usual ones: 5 MiB a group, 3 MiB of PNG and request, 2.4 MiB a cut-out.
    assert_eq!((room.tasks(16), room.tasks(3)), (10, 3));
    let tasks_after = |raw, png| {
        let task = room.task(MIB).unwrap();
        group(&room, &task, MIB, raw, png).unwrap();
        drop(task);
        room.tasks(100)
    };
    assert_eq!(tasks_after(4 * MIB, (3 * MIB - room.completions) / 2), 15);
    assert_eq!(tasks_after(MIB, (7 * MIB - room.completions) / 2), 7);
    // A smaller one afterwards changes nothing.
    assert_eq!(tasks_after(MIB, MIB), 7);
    assert_eq!(tasks_after(40 * MIB, MIB), 3);
    assert_eq!(self::room(MIB).tasks(16), 1);
}

#[test]
fn what_a_group_that_was_given_up_still_holds_is_no_room_for_the_next_lease() {
    let room = room(64 * MIB);
    drop(room.task(8 * MIB).unwrap());
    // 11 MiB a task, and 5 for its pictures.
    assert_eq!(room.tasks(16), 5);
    let cut_out = room.task(8 * MIB).unwrap();
    let given_up = room.make(8 * MIB).unwrap();
    assert_eq!(room.tasks(16), 4);
    let others = [(); 3].map(|()| room.task(16 * MIB).unwrap());
    assert_eq!(room.tasks(16), 1);
    drop((others, cut_out, given_up));
    // A task takes 19 MiB by now.
    assert_eq!(room.tasks(16), 3);
}

#[test]
fn as_many_groups_of_pictures_have_room_as_are_made_at_the_same_time() {
    let tasks = |renders| {
        let room = Room {
            renders,
            ..room(64 * MIB)
        };
        room.tasks(16)
    };
    // No more groups are made than tasks are leased.
    assert_eq!([1, 2, 7, 16].map(tasks), [10, 9, 6, 6]);
}

#[test]
fn pictures_are_counted_while_they_are_made_and_then_their_pngs() {
    let room = room(12 * MIB);
    let task = room.task(MIB).unwrap();
    let before = MIB + room.completions;
    assert_eq!(room.held(), before);

    let mut first = room.make(MIB).unwrap();
    // Two pictures with their products, and the PNG of one in the encoder and behind it.
    assert_eq!(room.held(), before + 512 * 512 * (2 * (3 + 4) + 2 * 3));
    let found = Raw {
        pictures: 3 * MIB,
        largest: 2 * MIB,
        placed: MIB,
    };
    room.made(&mut first, found).unwrap();
    assert_eq!(room.held(), before + (3 + 1 + 2 * 2) * MIB);
    room.encoded(&task, first, MIB).unwrap();
    assert_eq!(room.held(), before + 2 * MIB);

    let mut second = room.make(MIB).unwrap();
    assert_eq!(room.held(), before + (2 + 8) * MIB);
    room.made(&mut second, pictures(MIB)).unwrap();
    assert_eq!(room.held(), before + (2 + 1) * MIB);
    drop((second, task));
    assert_eq!(room.held(), 0);
}

#[test]
fn a_task_alone_is_always_tried_however_large_pictures_are_expected_to_be() {
    let room = room(2 * MIB);
    assert_eq!(room.tasks(16), 1);
    let _task = room.task(MIB).unwrap();
    let mut making = room.make(MIB).unwrap();
    assert_eq!(room.held(), 2 * MIB);
    room.made(&mut making, pictures(12)).unwrap();
    drop(making);
    // What they take is known now.
    let _making = room.make(MIB).unwrap();
    assert_eq!(room.held(), MIB + room.completions + 12);
}

#[test]
fn what_finds_no_room_beside_others_fails_alone_and_the_next_lease_is_smaller() {
    let room = room(20 * MIB);
    let mut tasks = vec![];
    for _ in 0..2 {
        let task = room.task(MIB).unwrap();
        group(&room, &task, MIB, 2 * MIB, MIB).unwrap();
        tasks.push(task);
    }
    assert!(room.tasks(16) > 2);
    let task = room.task(MIB).unwrap();
    let failure = group(&room, &task, MIB, 10 * MIB, 3 * MIB).unwrap_err();
    assert!(
        failure
            .detail()
            .contains("no room for the 6291456 bytes of its pictures"),
        "{}",
        failure.detail()
    );
    // Nothing is said against the task.
    assert_eq!(blame(failure), Blame::FullService);
    drop((task, tasks));
    assert_eq!(room.tasks(16), 1);
    room.check().unwrap();
    let task = room.task(MIB).unwrap();
    group(&room, &task, MIB, 10 * MIB, 3 * MIB).unwrap();
}

#[test]
fn a_cut_out_that_leaves_ordinary_pictures_no_room_fails_its_task_only() {
    let most = 10 * MIB;
    let room = room(most);
    let failure = room.task(most + MIB).unwrap_err();
    assert!(
        failure
            .detail()
            .contains("more than actor.memory_bytes = 10485760"),
        "{}",
        failure.detail()
    );
    assert_eq!(blame(failure), Blame::Task);
    let large = most - 1024;
    let task = room.task(large).unwrap();
    let failure = group(&room, &task, large, MIB, MIB / 2).unwrap_err();
    assert!(failure.detail().contains("its pictures"), "{}", failure.detail());
    assert!(!failure.outcome(common::TaskId(3)).is_terminal());
    room.check().unwrap();
    drop(task);

    // Here the pictures have room, and their PNGs have none.
    let large = most - 2 * MIB;
    let task = room.task(large).unwrap();
    assert!(group(&room, &task, large, MIB, MIB).is_err());
    room.check().unwrap();
    drop(task);

    let task = room.task(MIB).unwrap();
    group(&room, &task, MIB, MIB, MIB).unwrap();
}

#[test]
fn pictures_that_have_no_room_alone_end_the_actor_as_they_come_or_as_png() {
    for (raw, png, takes) in [(11, 0, 11 + 2 * 11), (4, 4, 4 + 2 * 4)] {
        let room = room(10 * MIB);
        let task = room.task(MIB).unwrap();
        assert!(group(&room, &task, MIB, raw * MIB, png * MIB).is_err());
        let error = room.check().unwrap_err();
        let told = error.to_string();
        let ActorError::GroupTooLarge {
            bytes, group_size, ..
        } = error
        else {
            panic!("{told}")
        };
        assert_eq!((bytes, group_size), ((1 + takes) * MIB + room.completions, 2));
        assert!(
            told.contains("actor.memory_bytes = 10485760") && told.contains("actor.group_size"),
            "{told}"
        );
    }
}
