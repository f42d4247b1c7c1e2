//! What a server does when more is asked of it than it can hold.

use super::served::{Start, header, request, rewards, shades};
use crate::scripted::Scripted;
use proto::pb::{self, ScoreFailureReason};
use proto::{MAX_MESSAGE_BYTES, WireError};
use std::time::Duration;
use tonic::Code;

#[tokio::test]
async fn a_request_without_a_place_is_turned_away_at_once_and_told_when_to_come_again() {
    let model = Scripted::named(0);
    let server = Start::with(|config| config.queue = 2).serve(model.clone()).await;
    model.close();
    let held = [[1, 2], [3, 4]].map(|pair| server.ask(shades(&[&pair])));
    server.until_waiting(2).await;
    let refusal = server.ask(shades(&[&[5, 6]]));
    let refusal = tokio::time::timeout(Duration::from_secs(5), refusal).await;
    let refusal = refusal.unwrap().unwrap().unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    assert!(refusal.message().contains("reward_server.queue"), "{refusal}");
    let again = WireError::retry_after(&refusal).unwrap();
    assert!((Duration::from_millis(50)..=Duration::from_secs(5)).contains(&again));
    // A question that costs nothing is answered all the same.
    let status = server.status().await;
    assert_eq!((status.requests_shed, status.requests), (1, 2));
    model.open();
    for answer in held {
        assert!(rewards(&answer.await.unwrap().unwrap())[0].is_ok());
    }
    assert!(server.ask(shades(&[&[5, 6]])).await.unwrap().is_ok());
    server.stop().await;
}

#[tokio::test]
async fn bytes_beyond_the_budget_are_turned_away_while_they_arrive() {
    let model = Scripted::named(0);
    let server = Start::with(|config| config.memory_bytes = MAX_MESSAGE_BYTES)
        .serve(model.clone())
        .await;
    model.close();
    let first = server.ask(shades(&[&[1, 2]]));
    server.until_waiting(1).await;
    // Prepared already: another one holds its bytes.
    let large = || request(vec![vec![vec![0; MAX_MESSAGE_BYTES / 3]; 2]]);
    let heaps = (0..4).map(|_| server.ask(large())).collect::<Vec<_>>();
    let (mut refused, mut taken) = (0, 0);
    for answer in heaps {
        match answer.await.unwrap() {
            Ok(answer) => {
                taken += 1;
                let failure = rewards(&answer)[0].clone().unwrap_err();
                assert_eq!(failure.reason(), ScoreFailureReason::InvalidImage);
            }
            Err(refusal) => {
                refused += 1;
                assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
                assert!(
                    refusal.message().contains("reward_server.memory_bytes"),
                    "{refusal}"
                );
                assert!(WireError::retry_after(&refusal).is_some());
            }
        }
    }
    assert!(refused > 0, "{taken} were taken");
    model.open();
    first.await.unwrap().unwrap();
    server
        .until("every byte is given back", |status| status.bytes == 0)
        .await;
    // Alone there is room for it.
    assert!(server.ask(large()).await.unwrap().is_ok());
    server.stop().await;
}

#[tokio::test]
async fn a_question_that_needs_a_header_may_not_bring_more() {
    let server = Start::default().serve(Scripted::named(0)).await;
    let mut header = header().unwrap();
    header.run_id = "x".repeat(1 << 20);
    let request = pb::GetRewardModelRequest { header: Some(header) };
    let refusal = server.client().await.get_reward_model(request).await;
    let refusal = refusal.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");
    assert!(refusal.message().contains("65536"), "{refusal}");
    server.stop().await;
}

/// A PNG of a hundred bytes that says it has this many pixels a side.
fn bomb(side: u32) -> Vec<u8> {
    let mut picture = data::cutout::encode_rgb_png(&image::RgbImage::new(1, 1));
    // Behind the signature: the length and the name of the header, then width and height, and after 13 bytes its checksum.
    picture[16..20].copy_from_slice(&side.to_be_bytes());
    picture[20..24].copy_from_slice(&side.to_be_bytes());
    let checksum = crc(&picture[12..29]);
    picture[29..33].copy_from_slice(&checksum.to_be_bytes());
    picture
}

/// The checksum of PNG.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    };
    !bytes.iter().fold(!0, step)
}

#[tokio::test]
async fn nonsense_and_bombs_fail_their_own_group_without_taking_memory() {
    let server = Start::default().serve(Scripted::named(0)).await;
    let fine = data::cutout::encode_rgb_png(&image::RgbImage::from_pixel(4, 4, image::Rgb([9; 3])));
    let groups = [
        bomb(60_000),
        bomb(u32::MAX),
        vec![],
        b"GIF89a".to_vec(),
        fine[..40].to_vec(),
    ];
    let groups = groups.map(|broken| vec![fine.clone(), broken]);
    let answer = server
        .ask(request(
            [&groups[..], &[vec![fine.clone(), fine.clone()]]].concat(),
        ))
        .await;
    let answer = rewards(&answer.unwrap().unwrap());
    for broken in &answer[..groups.len()] {
        let failure = broken.clone().unwrap_err();
        assert_eq!(failure.reason(), ScoreFailureReason::InvalidImage, "{failure:?}");
        assert!(failure.detail.starts_with("image 1"), "{failure:?}");
    }
    assert_eq!(answer[groups.len()], Ok(vec![9.0, 9.0]));
    server.stop().await;
}
