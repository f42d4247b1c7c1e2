//! What a lease holds while it is rendered, and afterwards.

use super::*;
use std::sync::{Mutex, mpsc};

/// Cut-out and completions of a task.
const BEFORE: usize = 16 + 64;

/// The pictures of a group: two of four pixels, whose products are not told, and one of them as it is encoded.
const RAW: usize = (2 + 2) * 4 * 3;

/// A painter before whose eyes is what is held.
struct Watching {
    room: Arc<Room>,
    held: Mutex<Vec<usize>>,
}

impl ImageGenerator for Watching {
    fn name(&self) -> &str {
        "watching"
    }

    fn generate(
        &self,
        product: &RgbaImage,
        descriptions: &[String],
        seed: u64,
    ) -> Result<Vec<Result<GeneratedImage, NoImage>>, GenerateError> {
        self.held.lock().unwrap().push(self.room.held());
        Painter.generate(product, descriptions, seed)
    }
}

/// A painter who paints once it may.
struct Waiting(Mutex<mpsc::Receiver<()>>);

impl ImageGenerator for Waiting {
    fn name(&self) -> &str {
        "waiting"
    }

    fn is_outside(&self) -> bool {
        true
    }

    fn generate(
        &self,
        product: &RgbaImage,
        descriptions: &[String],
        seed: u64,
    ) -> Result<Vec<Result<GeneratedImage, NoImage>>, GenerateError> {
        // An error is a test that failed: it waits for this thread.
        let _may = self.0.lock().unwrap().recv();
        Painter.generate(product, descriptions, seed)
    }
}

/// With room for so many bytes of a lease.
fn within(renderer: &mut Renderer, bytes: usize) {
    renderer.room = Arc::new(Room::new(bytes, 2, 1));
}

fn held(renderer: &Renderer) -> usize {
    renderer.room.held()
}

fn sampled(tasks: usize) -> PerTask<Vec<Trajectory>> {
    vec![Ok(vec![trajectory(4, "oak"), trajectory(4, "elm")]); tasks]
}

/// The PNGs of a group and the request that sends them.
async fn pngs(renderer: &mut Renderer, task: &ProductTask) -> usize {
    let rendered = rendered(renderer, &lease(vec![task.clone()]), &sampled(1)).await;
    let group = rendered[0].as_ref().unwrap();
    2 * group.iter().map(|image| image.png.len()).sum::<usize>()
}

#[tokio::test]
async fn a_lease_holds_no_more_than_it_has_room_for_and_lets_go_before_the_next() {
    let (mut renderer, task) = renderer();
    renderer.concurrency = 1;
    let each = BEFORE + pngs(&mut renderer, &task).await;
    let three = lease(vec![task.clone(); 3]);

    within(&mut renderer, 3 * each + RAW);
    // Nothing is known yet, and usual pictures are larger.
    assert_eq!(renderer.room.tasks(16), 1);
    pngs(&mut renderer, &task).await;
    for _lease in 0..2 {
        assert_eq!(renderer.room.tasks(16), 3);
        assert_eq!(held(&renderer), 0);
        let cut_outs = cut_outs(&renderer, 3);
        let rendered = renderer.render(&three, &cut_outs, &sampled(3)).await;
        assert!(rendered.iter().all(Result::is_ok));
        assert_eq!(held(&renderer), 3 * each);
    }

    within(&mut renderer, 3 * each + RAW - 1);
    pngs(&mut renderer, &task).await;
    assert_eq!(renderer.room.tasks(16), 2);
    let rendered = rendered(&mut renderer, &three, &sampled(3)).await;
    assert!(rendered[0].is_ok() && rendered[1].is_ok());
    let failure = rendered[2].clone().unwrap_err();
    assert!(
        failure.detail().contains("actor.memory_bytes"),
        "{}",
        failure.detail()
    );
    assert!(!failure.outcome(TaskId(4)).is_terminal());
    renderer.recovered().await.unwrap();
}

#[tokio::test]
async fn pictures_that_have_no_room_end_the_actor_and_with_a_cut_out_their_task_only() {
    let (mut renderer, task) = renderer();
    let each = BEFORE + pngs(&mut renderer, &task).await;
    let one = lease(vec![task]);

    // Room for the pictures, though not beside this cut-out of 16 bytes.
    within(&mut renderer, each + RAW - 16);
    assert!(rendered(&mut renderer, &one, &sampled(1)).await[0].is_err());
    renderer.recovered().await.unwrap();

    within(&mut renderer, each + RAW - 17);
    assert!(rendered(&mut renderer, &one, &sampled(1)).await[0].is_err());
    let error = renderer.recovered().await.unwrap_err();
    assert!(
        matches!(error, ActorError::GroupTooLarge { bytes, .. } if bytes == each + RAW),
        "{error}"
    );
}

#[tokio::test]
async fn pictures_are_counted_while_they_are_made_and_pngs_for_as_long_as_their_cut_out() {
    let (mut renderer, task) = renderer();
    let most = 1 << 20;
    within(&mut renderer, most);
    let watching = Arc::new(Watching {
        room: renderer.room.clone(),
        held: Mutex::default(),
    });
    renderer.generator = watching.clone();
    let one = lease(vec![task]);
    for _lease in 0..2 {
        let cut_outs = cut_outs(&renderer, 1);
        let rendered = renderer.render(&one, &cut_outs, &sampled(1)).await;
        let pngs = rendered[0]
            .as_ref()
            .unwrap()
            .iter()
            .map(|image| 2 * image.png.len());
        assert_eq!(held(&renderer), BEFORE + pngs.sum::<usize>());
        drop(cut_outs);
        assert_eq!(held(&renderer), 0);
    }
    // Usual pictures are larger than all that there is room for; then they are known.
    assert_eq!(*watching.held.lock().unwrap(), [most, BEFORE + RAW]);
}

#[tokio::test]
async fn a_group_that_is_given_up_is_counted_with_its_cut_out_until_the_generator_is_done() {
    let (mut renderer, task) = renderer();
    let most = 1 << 20;
    within(&mut renderer, most);
    let (may, waiting) = mpsc::sync_channel(1);
    renderer.generator = Arc::new(Waiting(Mutex::new(waiting)));
    let short = Lease::of(vec![task], Duration::from_millis(100));
    let failure = rendered(&mut renderer, &short, &sampled(1)).await[0]
        .clone()
        .unwrap_err();
    assert!(failure.detail().contains("lease_ttl_ms"), "{}", failure.detail());
    assert_eq!(held(&renderer), most);

    may.send(()).unwrap();
    let let_go = async {
        while held(&renderer) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), let_go)
        .await
        .unwrap();
}
