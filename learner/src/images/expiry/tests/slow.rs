//! A store and its journals in memory whose every request takes as long as is said, by the clock of the runtime, which also tells
//! when an object was written.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};
use store::{JournalEngine, ReadJournal, RecordStream, Store, StoreError, WriteJournal};
use tokio::time::{Instant, sleep};

/// What the clock says at the beginning: later than any image is old.
const BEGINNING: Duration = Duration::from_secs(1_000_000);

/// What is stored, and when it was written.
#[derive(Debug)]
pub(super) struct Objects {
    objects: InMemory,
    written: Mutex<BTreeMap<Path, Duration>>,
    records: Mutex<BTreeMap<Bytes, Bytes>>,
    begun: Instant,
    removals: AtomicUsize,
    most_removals: AtomicUsize,
}

impl Objects {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            objects: InMemory::new(),
            written: Mutex::default(),
            records: Mutex::default(),
            begun: Instant::now(),
            removals: AtomicUsize::new(0),
            most_removals: AtomicUsize::new(0),
        })
    }

    /// A way to them on which every request takes so long.
    pub(super) fn over(self: &Arc<Self>, delay: Duration) -> Store {
        let way = Way {
            objects: self.clone(),
            delay,
        };
        let store = Store::over(Arc::new(way.clone()), "memory:///".parse().unwrap());
        store.with_journals(Arc::new(way))
    }

    pub(super) fn now(&self) -> Duration {
        BEGINNING + self.begun.elapsed()
    }

    /// An object is there, and was written then.
    pub(super) async fn place(&self, key: &str, written: Duration) {
        let path = Path::from(key);
        self.objects
            .put(&path, PutPayload::from_static(b"x"))
            .await
            .unwrap();
        self.written.lock().unwrap().insert(path, written);
    }

    /// How many objects below a key were written before then.
    pub(super) fn written_before(&self, key: &str, time: Duration) -> usize {
        let (below, written) = (Path::from(key), self.written.lock().unwrap());
        let older = |(path, written): &(&Path, &Duration)| path.prefix_matches(&below) && **written < time;
        written.iter().filter(older).count()
    }

    /// How many removals of images were under way at once, at most.
    pub(super) fn most_removals(&self) -> usize {
        self.most_removals.load(SeqCst)
    }

    fn dated(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let written = self.written.lock().unwrap().get(&meta.location).copied();
        // What is put or removed just while it is listed has none, and is young.
        meta.last_modified = (UNIX_EPOCH + written.unwrap_or_else(|| self.now())).into();
        meta
    }

    async fn remove(&self, path: &Path, delay: Duration) -> Result<()> {
        let one = usize::from(path.as_ref().contains("/images/"));
        let under_way = self.removals.fetch_add(one, SeqCst) + one;
        self.most_removals.fetch_max(under_way, SeqCst);
        sleep(delay).await;
        self.removals.fetch_sub(one, SeqCst);
        self.written.lock().unwrap().remove(path);
        self.objects.delete(path).await
    }
}

/// A way to the objects.
#[derive(Debug, Clone)]
struct Way {
    objects: Arc<Objects>,
    delay: Duration,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("slow")
    }
}

#[async_trait]
impl ObjectStore for Way {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        sleep(self.delay).await;
        let written = self.objects.objects.put_opts(location, payload, opts).await?;
        let now = self.objects.now();
        self.objects.written.lock().unwrap().insert(location.clone(), now);
        Ok(written)
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("nothing here is large")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        sleep(self.delay).await;
        let got = self.objects.objects.get_opts(location, options).await?;
        Ok(GetResult {
            meta: self.objects.dated(got.meta.clone()),
            ..got
        })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let way = self.clone();
        let delete = move |location: Result<Path>| {
            let way = way.clone();
            async move {
                let location = location?;
                way.objects.remove(&location, way.delay).await?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (objects, delay) = (self.objects.clone(), self.delay);
        let listed = self.objects.objects.list(prefix);
        let dated = listed.map(move |meta| Ok(objects.dated(meta?)));
        stream::once(sleep(delay))
            .flat_map(|()| stream::empty())
            .chain(dated)
            .boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("no store asks for it")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("no store asks for it")
    }
}

#[async_trait]
impl JournalEngine for Way {
    async fn open(&self, _: &str, _: Duration) -> Result<Box<dyn WriteJournal>, StoreError> {
        Ok(Box::new(self.clone()))
    }

    async fn read(&self, _: &str) -> Result<Box<dyn ReadJournal>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl ReadJournal for Way {
    async fn records(&self, keys: Range<Bytes>) -> Result<RecordStream, StoreError> {
        sleep(self.delay).await;
        let records = self.objects.records.lock().unwrap();
        let found = records.range(keys);
        let found: Vec<_> = found
            .map(|(key, record)| Ok((key.clone(), record.clone())))
            .collect();
        Ok(stream::iter(found).boxed())
    }
}

#[async_trait]
impl WriteJournal for Way {
    fn epoch(&self) -> u64 {
        1
    }

    async fn append(&self, records: Vec<(Bytes, Bytes)>) -> Result<(), StoreError> {
        sleep(self.delay).await;
        self.objects.records.lock().unwrap().extend(records);
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
