//! A store in memory that holds one write of what a run leaves for as long as it is told, and that a learner can be cut off from.

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use store::Store;
use tokio::sync::watch;

/// Of a checkpoint an adapter, the moments and the manifest are written, in this order.
pub(super) const CHECKPOINTS: &str = "/checkpoints/";

/// Of a run's end it is written that a start has taken the run, then the end.
pub(super) const END: &str = "/end/";

/// A write that takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Below this.
    pub(super) place: &'static str,
    /// Which of the writes there, from 0.
    pub(super) write: usize,
    /// Whether it has taken effect when it is held, and only its answer is late.
    pub(super) took_effect: bool,
}

/// One learner's way to the objects, which others share.
#[derive(Debug)]
pub(super) struct HeldStore {
    objects: Arc<InMemory>,
    hold: Option<Moment>,
    writes: AtomicUsize,
    stage: watch::Sender<Stage>,
    is_cut_off: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Held,
    Released,
}

impl HeldStore {
    pub(super) fn new(objects: Arc<InMemory>, hold: Option<Moment>) -> Arc<Self> {
        Arc::new(Self {
            objects,
            hold,
            writes: AtomicUsize::new(0),
            stage: watch::Sender::new(Stage::Waiting),
            is_cut_off: AtomicBool::new(false),
        })
    }

    pub(super) fn as_store(self: &Arc<Self>) -> Store {
        Store::over(self.clone(), "memory:///".parse().unwrap())
    }

    /// Returns once the write is held.
    pub(super) async fn holds(&self) {
        let mut stage = self.stage.subscribe();
        let held = stage.wait_for(|stage| *stage != Stage::Waiting);
        let waited = tokio::time::timeout(Duration::from_secs(30), held).await;
        waited.expect("the write is never made").unwrap();
    }

    pub(super) fn release(&self) {
        self.stage.send_replace(Stage::Released);
    }

    /// From now on nothing that its learner writes takes effect: it is dead, whatever it still does.
    pub(super) fn cut_off(&self) {
        self.is_cut_off.store(true, SeqCst);
    }

    async fn hold_here(&self) {
        self.stage.send_replace(Stage::Held);
        let mut stage = self.stage.subscribe();
        stage.wait_for(|stage| *stage == Stage::Released).await.unwrap();
    }

    async fn write(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.check()?;
        self.objects.put_opts(location, payload, opts).await
    }

    fn check(&self) -> Result<()> {
        match self.is_cut_off.load(SeqCst) {
            true => Err(object_store::Error::Generic {
                store: "held",
                source: "cut off".into(),
            }),
            false => Ok(()),
        }
    }
}

impl fmt::Display for HeldStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("held")
    }
}

#[async_trait]
impl ObjectStore for HeldStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let there = self.hold.filter(|hold| location.as_ref().contains(hold.place));
        match there.filter(|hold| hold.write == self.writes.fetch_add(1, SeqCst)) {
            Some(Moment {
                took_effect: true, ..
            }) => {
                let written = self.write(location, payload, opts).await;
                self.hold_here().await;
                written
            }
            Some(_) => {
                self.hold_here().await;
                self.write(location, payload, opts).await
            }
            None => self.write(location, payload, opts).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.check()?;
        self.objects.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.check() {
            Ok(()) => self.objects.delete_stream(locations),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.check()?;
        self.objects.copy_opts(from, to, options).await
    }
}
