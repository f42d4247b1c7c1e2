//! What is counted of a lease, and how many tasks the next one has.

use super::*;

const MIB: usize = 1 << 20;

/// Completions take 256 bytes a task.
fn room(most: usize) -> Room {
    Room::new(most, 2, 4)
}

fn pictures(bytes: usize) -> Raw {
    Raw {
        pictures: bytes,
        placed: 0,
    }
}

/// Takes a group with so many bytes of pictures and of PNG to its end.
fn group(room: &Room, lease: &ByteCharge, cut_out: usize, raw: usize, png: usize) -> Result<(), Failure> {
    let mut making = room.make(cut_out)?;
    room.made(&mut making, pictures(raw))?;
    room.encoded(lease, making, png)
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
    // Before anything is known, pictures are usual ones: 3.5 MiB a group, 3 MiB of PNG and request, 2.4 MiB a cut-out.
    assert_eq!((room.tasks(16), room.tasks(3)), (11, 3));
    let lease = room.lease();
    room.cut_out(&lease, MIB).unwrap();
    group(&room, &lease, MIB, 4 * MIB, (3 * MIB - room.completions) / 2).unwrap();
    assert_eq!(room.tasks(100), 15);
    group(&room, &lease, MIB, MIB, (7 * MIB - room.completions) / 2).unwrap();
    assert_eq!(room.tasks(100), 7);
    // A smaller one afterwards changes nothing.
    group(&room, &lease, MIB, MIB, MIB).unwrap();
    assert_eq!(room.tasks(100), 7);
    group(&room, &lease, MIB, 40 * MIB, MIB).unwrap();
    assert_eq!(room.tasks(100), 3);
    assert_eq!(self::room(MIB).tasks(16), 1);
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
    assert_eq!([1, 2, 7, 16].map(tasks), [11, 10, 7, 7]);
}

#[test]
fn pictures_are_counted_while_they_are_made_and_then_their_pngs() {
    let room = room(10 * MIB);
    let lease = room.lease();
    room.cut_out(&lease, MIB).unwrap();
    let before = MIB + room.completions;
    assert_eq!(room.held(), before);

    let mut first = room.make(MIB).unwrap();
    assert_eq!(room.held(), before + 2 * 512 * 512 * 7);
    let found = Raw {
        pictures: 4 * MIB,
        placed: MIB,
    };
    room.made(&mut first, found).unwrap();
    assert_eq!(room.held(), before + 5 * MIB);
    room.encoded(&lease, first, MIB).unwrap();
    assert_eq!(room.held(), before + 2 * MIB);

    let mut second = room.make(MIB).unwrap();
    assert_eq!(room.held(), before + (2 + 5) * MIB);
    room.made(&mut second, pictures(MIB)).unwrap();
    assert_eq!(room.held(), before + (2 + 1) * MIB);
    drop((second, lease));
    assert_eq!(room.held(), 0);
}

#[test]
fn a_task_alone_is_always_tried_however_large_pictures_are_expected_to_be() {
    let room = room(2 * MIB);
    assert_eq!(room.tasks(16), 1);
    let lease = room.lease();
    room.cut_out(&lease, MIB).unwrap();
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
    let lease = room.lease();
    for _ in 0..2 {
        room.cut_out(&lease, MIB).unwrap();
        group(&room, &lease, MIB, 2 * MIB, MIB).unwrap();
    }
    assert!(room.tasks(16) > 2);
    let failure = group(&room, &lease, MIB, 10 * MIB, 3 * MIB).unwrap_err();
    assert!(
        failure
            .detail()
            .contains("no room for the 6291456 bytes of its pictures"),
        "{}",
        failure.detail()
    );
    assert!(!failure.outcome(common::TaskId(3)).is_terminal());
    assert_eq!(room.tasks(16), 1);
    room.check().unwrap();
    drop(lease);
    let lease = room.lease();
    room.cut_out(&lease, MIB).unwrap();
    group(&room, &lease, MIB, 10 * MIB, 3 * MIB).unwrap();
}

#[test]
fn a_cut_out_that_leaves_ordinary_pictures_no_room_fails_its_task_only() {
    let most = 10 * MIB;
    let room = room(most);
    let lease = room.lease();
    let failure = room.cut_out(&lease, most + MIB).unwrap_err();
    assert!(
        failure
            .detail()
            .contains("more than actor.memory_bytes = 10485760"),
        "{}",
        failure.detail()
    );
    let large = most - 1024;
    room.cut_out(&lease, large).unwrap();
    let failure = group(&room, &lease, large, MIB, MIB / 2).unwrap_err();
    assert!(failure.detail().contains("its pictures"), "{}", failure.detail());
    assert!(!failure.outcome(common::TaskId(3)).is_terminal());
    room.check().unwrap();
    drop(lease);

    // Here the pictures have room, and their PNGs have none.
    let lease = room.lease();
    let large = most - 2 * MIB;
    room.cut_out(&lease, large).unwrap();
    assert!(group(&room, &lease, large, MIB, MIB).is_err());
    room.check().unwrap();
    drop(lease);

    let lease = room.lease();
    room.cut_out(&lease, MIB).unwrap();
    group(&room, &lease, MIB, MIB, MIB).unwrap();
}

#[test]
fn pictures_that_have_no_room_alone_end_the_actor_as_they_come_or_as_png() {
    for (raw, png, takes) in [(11, 0, 11 + 2 * 11), (4, 4, 4 + 2 * 4)] {
        let room = room(10 * MIB);
        let lease = room.lease();
        room.cut_out(&lease, MIB).unwrap();
        assert!(group(&room, &lease, MIB, raw * MIB, png * MIB).is_err());
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
