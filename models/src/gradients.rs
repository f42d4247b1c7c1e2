//! Gradients of a batch that is split into micro-batches: computed side by side, summed, clipped.
//!
//! Every micro-batch gets its own leaves of the autodiff graph (same parameter identities, shared storage)
//! and runs in a rayon pool of one thread. The first because Burn keeps graphs that share a node under one
//! lock, for which threads would wait; the second because kernels called from outside a rayon pool all run in
//! the one global pool. It also means that neither the number of threads nor the size of the global pool can
//! change a result.
//!
//! Not here: what the loss is, and the update.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{FloatDType, Tensor};
use crossbeam::channel;

use crate::error::ModelError;
use crate::one_thread::OneThread;
use crate::panics;

/// Sums the gradients of `loss` over `micro_batches`, up to `threads` of them computed at a time.
///
/// `loss` returns one micro-batch's share of the loss, shape `[1]`, and whatever else the caller wants to
/// know of it; it must use the copy of the model that it is given. The gradients are those of the plain sum
/// of the shares, so a mean over the batch is divided in `loss`. `model` must be on an autodiff device.
///
/// Results come in the order of `micro_batches`, and gradients are added in that order: `threads` (at least 1
/// is used) changes the time taken, never a bit of the result.
///
/// # Errors
/// [`ModelError::NoMicroBatch`] for an empty list, [`ModelError::MicroBatchPanicked`] with the first
/// micro-batch whose pass panicked, [`ModelError::Threads`] when no thread can be started.
pub fn accumulate<M, B, O>(
    model: &M,
    micro_batches: Vec<B>,
    threads: usize,
    loss: impl Fn(&M, B) -> (Tensor<1>, O) + Sync,
) -> Result<(GradientsParams, Vec<O>), ModelError>
where
    M: Module + Sync,
    B: Send,
    O: Send,
{
    accumulate_passes(model, micro_batches, threads, |model, batch| {
        let (loss, output) = loss(model, batch);
        (GradientsParams::from_grads(loss.backward(), model), output)
    })
}

/// The same where `pass` takes its own way backward
/// ([`Llava::backward`](crate::llava::Llava::backward)) and returns the gradients.
///
/// # Errors
/// As [`accumulate`].
pub fn accumulate_passes<M, B, O>(
    model: &M,
    micro_batches: Vec<B>,
    threads: usize,
    pass: impl Fn(&M, B) -> (GradientsParams, O) + Sync,
) -> Result<(GradientsParams, Vec<O>), ModelError>
where
    M: Module + Sync,
    B: Send,
    O: Send,
{
    let count = micro_batches.len();
    if count == 0 {
        return Err(ModelError::NoMicroBatch);
    }
    let jobs = Mutex::new(micro_batches.into_iter().enumerate());
    let (results, finished) = channel::bounded(count);
    let work = |results: channel::Sender<Finished<O>>| {
        while let Some((index, batch)) = next(&jobs) {
            let done = catch_unwind(AssertUnwindSafe(|| pass(&with_own_leaves(model), batch)));
            let done = done.map_err(|panic| panicked(index, &*panic));
            if done.is_err() {
                while next(&jobs).is_some() {}
            }
            // There is room for every result; nobody takes them any more once an earlier one was an error.
            let _ = results.send((index, done));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count) {
            let thread = OneThread::take()?;
            let (results, work) = (results.clone(), &work);
            scope.spawn(move || thread.run(|| work(results)));
        }
        drop(results);
        sum_in_order(model, finished)
    })
}

type Pass<O> = (GradientsParams, O);
type Finished<O> = (usize, Result<Pass<O>, ModelError>);

fn next<T>(jobs: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).next()
}

fn panicked(index: usize, panic: &(dyn std::any::Any + Send)) -> ModelError {
    ModelError::MicroBatchPanicked {
        index,
        message: panics::message(panic),
    }
}

/// Adds passes as soon as all before them are in, so that few wait in memory.
fn sum_in_order<M: Module, O>(
    model: &M,
    finished: channel::Receiver<Finished<O>>,
) -> Result<(GradientsParams, Vec<O>), ModelError> {
    let mut sum = GradientsAccumulator::new();
    let mut outputs = vec![];
    let mut waiting = BTreeMap::new();
    for (index, pass) in finished {
        waiting.insert(index, pass);
        while let Some(pass) = waiting.remove(&outputs.len()) {
            let (gradients, output) = pass?;
            sum.accumulate(model, gradients);
            outputs.push(output);
        }
    }
    Ok((sum.grads(), outputs))
}

/// The same parameters as new leaves: a graph built on the copy shares no node with one built on `model`.
fn with_own_leaves<M: Module>(model: &M) -> M {
    struct OwnLeaves;
    impl ModuleMapper for OwnLeaves {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if param.is_require_grad() {
                param.map(own_leaf)
            } else {
                param
            }
        }
    }
    model.clone().map(&mut OwnLeaves)
}

fn own_leaf<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    let checkpointing = tensor.gradient_checkpointing_strategy();
    let leaf = tensor.inner().autodiff();
    match checkpointing {
        Some(strategy) => leaf.with_gradient_checkpointing_strategy(strategy).require_grad(),
        None => leaf.require_grad(),
    }
}

/// The 2-norm of all gradients of `model` taken as one vector; 0 without any. One read from the device.
pub fn global_norm<M: Module>(model: &M, gradients: &GradientsParams) -> f64 {
    struct Squares<'a>(&'a GradientsParams, Vec<Tensor<1>>);
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                self.1.push(gradient.cast(FloatDType::F32).square().sum());
            }
        }
    }
    let mut squares = Squares(gradients, vec![]);
    model.visit(&mut squares);
    if squares.1.is_empty() {
        return 0.0;
    }
    f64::from(Tensor::cat(squares.1, 0).sum().into_scalar::<f32>()).sqrt()
}

/// Scales all gradients of `model` so that their [`global_norm`] is at most `max_norm`; returns the norm
/// before.
///
/// As torch's `clip_grad_norm_`: the factor is `max_norm / (norm + 1e-6)`, and nothing changes when it is 1
/// or more. Gradients whose norm is not finite are left as they are: check the returned norm before stepping.
pub fn clip_global_norm<M: Module>(model: &M, gradients: &mut GradientsParams, max_norm: f64) -> f64 {
    struct Scale<'a>(&'a mut GradientsParams, f64);
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.remove::<D>(param.id) {
                self.0.register(param.id, gradient.mul_scalar(self.1));
            }
        }
    }
    let norm = global_norm(model, gradients);
    let factor = max_norm / (norm + 1e-6);
    if norm.is_finite() && factor < 1.0 {
        model.visit(&mut Scale(gradients, factor));
    }
    norm
}

#[cfg(test)]
pub(crate) mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::init::normal_param;
    use crate::weights::Path;

    /// Gradients by parameter name.
    pub(crate) fn named<M: Module>(net: &M, gradients: &GradientsParams) -> BTreeMap<String, Vec<f32>> {
        struct Named<'a>(Path, &'a GradientsParams, BTreeMap<String, Vec<f32>>);
        impl ModuleVisitor for Named<'_> {
            fn enter_module(&mut self, name: &str, _container: &str) {
                self.0.enter(name);
            }
            fn exit_module(&mut self, _name: &str, _container: &str) {
                self.0.exit();
            }
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = self.1.get::<D>(param.id) {
                    self.2
                        .insert(self.0.name(), gradient.into_data().try_to_vec().unwrap());
                }
            }
        }
        let mut named = Named(Path::default(), gradients, BTreeMap::new());
        net.visit(&mut named);
        named.2
    }

    #[derive(Module, Debug)]
    struct Net {
        first: Param<Tensor<2>>,
        frozen: Param<Tensor<2>>,
        second: Param<Tensor<2>>,
    }

    fn net() -> Net {
        let device = Device::flex().autodiff();
        Net {
            first: normal_param([3, 4], 0.5, 1, &device),
            frozen: normal_param([4, 4], 0.5, 2, &device).set_require_grad(false),
            second: normal_param([4, 2], 0.5, 3, &device),
        }
    }

    fn rows(count: usize, seed: u64) -> Tensor<2> {
        crate::init::normal([count, 3], 1.0, seed, &Device::flex())
    }

    fn loss(net: &Net, x: Tensor<2>) -> (Tensor<1>, f32) {
        let hidden = x
            .matmul(net.first.val())
            .matmul(net.frozen.val())
            .powf_scalar(2.0);
        let loss = hidden.matmul(net.second.val()).sum();
        (loss.clone(), loss.into_scalar::<f32>())
    }

    #[test]
    fn the_sum_over_micro_batches_is_the_gradient_of_the_whole_batch() {
        let net = net();
        let x = rows(9, 5);
        let whole = GradientsParams::from_grads(loss(&net, x.clone()).0.backward(), &net);
        let parts = vec![
            x.clone().narrow(0, 0, 4),
            x.clone().narrow(0, 4, 2),
            x.narrow(0, 6, 3),
        ];
        let (sum, losses) = accumulate(&net, parts, 2, loss).unwrap();
        let (whole, sum) = (named(&net, &whole), named(&net, &sum));
        assert_eq!(losses.len(), 3);
        assert_eq!(whole.keys().collect::<Vec<_>>(), ["first", "second"]);
        assert_eq!(sum.keys().collect::<Vec<_>>(), ["first", "second"]);
        for (name, expected) in &whole {
            for (a, b) in expected.iter().zip(&sum[name]) {
                assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{name}: {a} {b}");
            }
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let net = net();
        let run = |threads| {
            let batches = (0..7).map(|seed| rows(1 + seed as usize % 3, seed)).collect();
            let (gradients, losses) = accumulate(&net, batches, threads, loss).unwrap();
            (named(&net, &gradients), losses)
        };
        let one = run(1);
        for threads in [0, 2, 3, 16] {
            assert_eq!(run(threads), one, "{threads} threads");
        }
    }

    #[test]
    fn results_come_in_the_order_of_the_batches_however_long_each_takes() {
        let batches: Vec<u64> = vec![30, 0, 20, 0, 10];
        let slow = |net: &Net, millis: u64| {
            std::thread::sleep(std::time::Duration::from_millis(millis));
            (loss(net, rows(1, millis)).0, millis)
        };
        let (_, order) = accumulate(&net(), batches.clone(), 3, slow).unwrap();
        assert_eq!(order, batches);
    }

    #[test]
    fn a_panic_is_an_error_that_names_the_first_micro_batch_at_fault() {
        for threads in [1, 2, 4] {
            let faulty = |net: &Net, index: usize| {
                assert!(index != 2 && index != 5, "no luck with {index}");
                loss(net, rows(1, 1))
            };
            let error = accumulate(&net(), (0..8).collect(), threads, faulty).unwrap_err();
            assert_eq!(error.to_string(), "micro-batch 2 panicked: no luck with 2");
        }
        // And the threads still work.
        assert!(accumulate(&net(), vec![rows(1, 1)], 4, loss).is_ok());
    }

    #[test]
    fn an_empty_batch_is_refused() {
        assert!(matches!(
            accumulate(&net(), vec![], 1, loss),
            Err(ModelError::NoMicroBatch)
        ));
    }

    fn three_four(net: &Net) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        let device = Device::flex();
        gradients.register(
            net.first.id,
            Tensor::<2>::zeros([3, 4], &device).slice_fill([0..1, 1..2], 3.0),
        );
        gradients.register(
            net.second.id,
            Tensor::<2>::zeros([4, 2], &device).slice_fill([3..4, 0..1], -4.0),
        );
        gradients
    }

    #[test]
    fn the_norm_is_that_of_all_gradients_as_one_vector() {
        let net = net();
        assert_eq!(global_norm(&net, &three_four(&net)), 5.0);
        assert_eq!(global_norm(&net, &GradientsParams::new()), 0.0);
    }

    #[test]
    fn clipping_scales_everything_by_one_factor_and_leaves_small_gradients_alone() {
        let net = net();
        let mut gradients = three_four(&net);
        assert_eq!(clip_global_norm(&net, &mut gradients, 1.0), 5.0);
        let clipped = named(&net, &gradients);
        assert!((clipped["first"][1] - 0.6).abs() < 1e-6 && (clipped["second"][6] + 0.8).abs() < 1e-6);
        assert!((global_norm(&net, &gradients) - 1.0).abs() < 1e-6);

        let mut gradients = three_four(&net);
        assert_eq!(clip_global_norm(&net, &mut gradients, 5.1), 5.0);
        assert_eq!(named(&net, &gradients), named(&net, &three_four(&net)));
    }

    #[test]
    fn a_norm_that_is_not_finite_is_reported_and_nothing_is_scaled() {
        let net = net();
        let mut gradients = three_four(&net);
        gradients.register(
            net.frozen.id,
            Tensor::<2>::full([4, 4], f32::NAN, &Device::flex()),
        );
        assert!(clip_global_norm(&net, &mut gradients, 1.0).is_nan());
        assert_eq!(named(&net, &gradients)["first"][1], 3.0);
    }
}
