//! What can go wrong in this crate: one enum, a variant per thing that failed.
//!
//! Each message names the file, key, tensor or value at fault and what would be right. Programming errors (a
//! tensor of the wrong rank inside a network) stay panics; the compute thread and `accumulate` turn those
//! into errors of one job.

use crate::weights::NameList;

/// An error of the networks, their files or their threads.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The device string names no device this binary can use.
    #[error("device {given:?}: {reason}")]
    Device {
        /// What the user wrote.
        given: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },

    /// A set of weights and a model name different tensors.
    #[error("weights do not fit the model: missing {missing}; not in the model {unused}")]
    WeightNames {
        /// Parameters of the model that the weights lack.
        missing: NameList,
        /// Tensors that no parameter of the model took.
        unused: NameList,
    },
    /// The files of a checkpoint do not hold the weights of its configuration.
    #[error(
        "the weights are not those of the configuration: missing {missing}; unused {unused}; of another shape {misshaped}"
    )]
    WeightsDiffer {
        /// Weights that the files lack, under the files' names.
        missing: NameList,
        /// Tensors that the model has no place for.
        unused: NameList,
        /// Tensors of another shape, with both shapes.
        misshaped: NameList,
    },
    /// A foreign configuration asks for something that is not built here.
    #[error("{reason}")]
    Foreign {
        /// The key, its value and what would be right.
        reason: String,
    },
    /// The names of a checkpoint's tensors are those of no layout that is read here.
    #[error(
        "no known layout has tensors such as {found}: expected a LLaVA of transformers or of its own repository"
    )]
    UnknownLayout {
        /// Some of the names.
        found: NameList,
    },
    /// A tensor has another shape than the parameter of its name.
    #[error("weight {name}: shape {found:?}, expected {expected:?}")]
    WeightShape {
        /// Name of the tensor.
        name: String,
        /// Shape of the model's parameter.
        expected: Vec<usize>,
        /// Shape of the tensor.
        found: Vec<usize>,
    },
    /// A tensor has another number format than the parameter of its name.
    #[error("weight {name}: number format {found}, expected {expected}")]
    WeightDtype {
        /// Name of the tensor.
        name: String,
        /// What would be right.
        expected: String,
        /// Number format of the tensor.
        found: String,
    },
    /// A tensor holds a NaN or an infinity.
    #[error("weight {name}: element {index} is {value}, expected finite numbers")]
    WeightNotFinite {
        /// Name of the tensor.
        name: String,
        /// Flat index of the first such element.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// A tensor's bytes are not valid for its number format.
    #[error("weight {name}: unreadable data: {source}")]
    WeightData {
        /// Name of the tensor.
        name: String,
        /// What Burn found wrong.
        source: burn::tensor::DataError,
    },
    /// The layout table does not say whether a matrix is stored transposed.
    #[error("weight {name}: shape {shape:?}, expected [n]: no matrix of that name has a known layout")]
    WeightLayout {
        /// Name of the tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Bytes that are not a well-formed safetensors file.
    #[error("no whole safetensors file: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// A safetensors file whose header is none, or describes another length than the file has.
    #[error("no whole safetensors file: {0}")]
    SafetensorsHeader(String),

    /// No micro-batch was given, so there is no gradient.
    #[error("no micro-batch given, expected at least one")]
    NoMicroBatch,
    /// The forward or backward pass of one micro-batch panicked.
    #[error("micro-batch {index} panicked: {message}")]
    MicroBatchPanicked {
        /// Its place in the list, from zero.
        index: usize,
        /// The panic's message.
        message: String,
    },
    /// The threads for the micro-batches could not be started.
    #[error("cannot start a compute thread")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// A job of a compute thread gave no answer.
    #[error(transparent)]
    Compute(#[from] crate::compute_thread::ComputeError),

    /// Settings of the optimizer are out of range.
    #[error("{}", mistakes.join("\n"))]
    OptimizerConfig {
        /// Every mistake with its key, its value and what would be right.
        mistakes: Vec<String>,
    },

    /// An entry of an optimizer's state does not fit the policy that it is to go on with.
    #[error("{entry}: {reason}")]
    OptimizerState {
        /// The entry.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A key of a model's configuration is out of range.
    #[error("{key} = {value}: expected {expected}")]
    Config {
        /// The key, as `config.json` nests it.
        key: &'static str,
        /// What it was.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A row of tokens cannot be laid out.
    #[error("row {row}: {reason}")]
    Row {
        /// Its place in the batch, from zero.
        row: usize,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// An adapter cannot be attached.
    #[error("adapter: {reason}")]
    Adapter {
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// A tokenizer could not be trained, read or used.
    #[error("tokenizer: {reason}")]
    Tokenizer {
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// A SentencePiece model cannot be read.
    #[error(transparent)]
    SentencePiece(#[from] crate::sentencepiece::SentencePieceError),
    /// The sampling settings are out of range.
    #[error("{key} = {value}: expected {expected}")]
    Sampling {
        /// Which setting.
        key: &'static str,
        /// What it was.
        value: f64,
        /// What would be right.
        expected: &'static str,
    },
    /// The longest completion that is asked for does not fit behind a prompt.
    #[error(
        "max_new_tokens = {max_new_tokens}: expected at most {}, for the prompt takes {prompt} of the {context} positions \
         of the model's context",
        (context + 1).saturating_sub(*prompt)
    )]
    Room {
        /// What was asked for.
        max_new_tokens: usize,
        /// Positions of the longest prompt; it fits.
        prompt: usize,
        /// Positions that the model has.
        context: usize,
    },
    /// A description cannot be rendered.
    #[error("description: {reason}")]
    Prompt {
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// Pictures cannot be painted on.
    #[error("canvas: {reason}")]
    Canvas {
        /// What is wrong with them and what would be right.
        reason: String,
    },
    /// A network gave numbers that are no picture.
    #[error("the picture of description {index} is not finite: compute in f32, or use another checkpoint")]
    PictureNotFinite {
        /// Which description, from zero.
        index: usize,
    },
    /// A file of a model directory cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: std::path::PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file of a model directory has the wrong content.
    #[error("{}: {reason}", path.display())]
    Content {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong with it and what would be right.
        reason: String,
    },
}

impl ModelError {
    /// The same fault as one of the content of `path`. An error that names its file already stays as it is.
    pub(crate) fn in_file(self, path: &std::path::Path) -> Self {
        match self {
            Self::File { .. } | Self::Content { .. } => self,
            other => Self::Content {
                path: path.to_owned(),
                reason: other.to_string(),
            },
        }
    }
}
