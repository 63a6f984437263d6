//! A loaded model: its inputs and outputs, and the one way to run it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ort::environment::{Environment, EnvironmentBuilder};
use ort::session::Session;
use ort::value::{DynTensor, DynTensorValueType, Outlet, TensorElementType, ValueType};
use parapet_media::protocol::TensorShape;
use thiserror::Error;

use crate::element;

/// Why a model can never answer.
#[derive(Debug, Clone, Error)]
pub(crate) enum LoadError {
    /// The file is not a model that the run time takes.
    #[error("{0}")]
    Model(String),
    /// The package's descriptor and the model disagree.
    #[error("{0}")]
    Descriptor(String),
}

/// Why one call failed.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    /// The caller's tensors do not fit.
    #[error("{0}")]
    Input(String),
    /// The model failed on them.
    #[error("{0}")]
    Run(String),
}

/// One input or output.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    /// Name in the model.
    pub(crate) name: String,
    /// Element type.
    element: TensorElementType,
    /// NumPy's name of it.
    dtype: &'static str,
    /// Bytes an element.
    pub(crate) element_bytes: usize,
    /// Extents; 0 where the model leaves one open.
    shape: Vec<u64>,
}

/// One output of a call: its place in the answer's memory follows from the sizes.
pub(crate) struct Output {
    /// Name in the model.
    pub(crate) name: String,
    /// NumPy's name of the element type.
    pub(crate) dtype: &'static str,
    /// Actual extents.
    pub(crate) shape: Vec<u64>,
    /// The elements, C order.
    pub(crate) bytes: Vec<u8>,
}

/// Writes elements into the buffer it is given.
pub(crate) type Fill<'a> = dyn FnMut(&mut [u8]) -> Result<(), RunError> + 'a;

/// One input of a call: its shape, and what writes its elements into the buffer it is given.
pub(crate) struct Filler<'a> {
    /// Extents.
    pub(crate) shape: Vec<u64>,
    /// Fills the buffer, or says why it cannot.
    pub(crate) fill: Box<Fill<'a>>,
}

/// A model that answers.
pub(crate) struct Model {
    session: Mutex<Session>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    // Last: sessions refer to it.
    _environment: Environment,
}

impl Model {
    /// Loads an ONNX model and holds the descriptor's `promised` inputs against it.
    pub(crate) fn load(
        bytes: &[u8],
        promised: &[TensorShape],
        threads: u32,
    ) -> Result<Self, LoadError> {
        let fault =
            |error: ort::Error| LoadError::Model(format!("the model cannot be loaded: {error}"));
        let environment = run_time()?.with_telemetry(false).build().map_err(fault)?;
        let mut builder = Session::builder(&environment)
            .map_err(fault)?
            .with_intra_threads(threads.clamp(1, 64) as usize)
            .map_err(|error| fault(error.into()))?;
        // Spinning would take the cores that decoders need between two calls.
        builder = builder
            .with_intra_op_spinning(false)
            .map_err(|error| fault(error.into()))?;
        builder = builder
            .with_inter_op_spinning(false)
            .map_err(|error| fault(error.into()))?;
        let session = builder.commit_from_memory(bytes).map_err(fault)?;
        let mut inputs = ports(session.inputs())?;
        let outputs = ports(session.outputs())?;
        fit(&mut inputs, promised)?;
        Ok(Self {
            session: Mutex::new(session),
            inputs,
            outputs,
            _environment: environment,
        })
    }

    /// Inputs and outputs as callers see them.
    pub(crate) fn shapes(&self) -> (Vec<TensorShape>, Vec<TensorShape>) {
        let describe = |ports: &[Port]| {
            ports
                .iter()
                .map(|port| TensorShape {
                    name: port.name.clone(),
                    dtype: port.dtype.to_owned(),
                    shape: port.shape.clone(),
                })
                .collect()
        };
        (describe(&self.inputs), describe(&self.outputs))
    }

    /// The inputs in the model's order.
    pub(crate) fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Runs the model on one filler per input, in the model's order.
    pub(crate) fn run(&self, tensors: &mut [Filler<'_>]) -> Result<Vec<Output>, RunError> {
        let fault = |error: ort::Error| RunError::Run(format!("the model failed: {error}"));
        let mut session = self.lock();
        let mut values = Vec::with_capacity(self.inputs.len());
        for (port, filler) in self.inputs.iter().zip(tensors) {
            let elements = port.check(&filler.shape)?;
            let extents: Vec<i64> = filler
                .shape
                .iter()
                .map(|extent| extent.cast_signed())
                .collect();
            let mut tensor =
                DynTensor::new(session.allocator(), port.element, extents).map_err(fault)?;
            (filler.fill)(bytes_mut(&mut tensor, elements * port.element_bytes))?;
            values.push((port.name.clone(), tensor));
        }
        let outputs = session.run(values).map_err(fault)?;
        outputs
            .iter()
            .zip(&self.outputs)
            .map(|((name, value), port)| {
                let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
                    return Err(RunError::Run(format!("output {name:?} is no tensor")));
                };
                let shape: Vec<u64> = shape.iter().map(|extent| extent.unsigned_abs()).collect();
                let elements = element::count(&shape)
                    .filter(|_| *ty == port.element)
                    .ok_or_else(|| RunError::Run(format!("output {name:?} changed its type")))?;
                let tensor = value.downcast::<DynTensorValueType>().map_err(fault)?;
                let bytes = bytes(&tensor, elements * port.element_bytes).to_vec();
                Ok(Output {
                    name: name.to_owned(),
                    dtype: port.dtype,
                    shape,
                    bytes,
                })
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Session> {
        // A call that panicked leaves the session as the run time left it: usable.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Port {
    /// Elements of a caller's shape, if it fits this input.
    fn check(&self, shape: &[u64]) -> Result<usize, RunError> {
        let fits = shape.len() == self.shape.len()
            && shape
                .iter()
                .zip(&self.shape)
                .all(|(given, own)| *own == 0 || given == own);
        let elements = element::count(shape);
        match elements {
            Some(elements) if fits => Ok(elements),
            _ => Err(RunError::Input(format!(
                "input {:?} has shape {shape:?}, the model needs {:?}",
                self.name, self.shape
            ))),
        }
    }
}

/// Loads ONNX Runtime's library here, because `ort` by itself panics where there is none.
pub(crate) fn run_time() -> Result<EnvironmentBuilder, LoadError> {
    let library = std::env::var_os("ORT_DYLIB_PATH").unwrap_or_else(|| "libonnxruntime.so".into());
    ort::init_from(&library).map_err(|error| {
        LoadError::Model(format!(
            "ONNX Runtime's library {} cannot be loaded: install it or set ORT_DYLIB_PATH: {error}",
            library.display()
        ))
    })
}

fn ports(outlets: &[Outlet]) -> Result<Vec<Port>, LoadError> {
    outlets
        .iter()
        .map(|outlet| {
            let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
                return Err(LoadError::Model(format!(
                    "{:?} of the model is no tensor: export the model with tensors only",
                    outlet.name()
                )));
            };
            let (dtype, element_bytes) = element::numpy(*ty).ok_or_else(|| {
                LoadError::Model(format!(
                    "{:?} of the model holds {ty:?}, which NumPy has not: export it as float32",
                    outlet.name()
                ))
            })?;
            let shape = shape
                .iter()
                .map(|extent| u64::try_from(*extent).unwrap_or(0))
                .collect();
            Ok(Port {
                name: outlet.name().to_owned(),
                element: *ty,
                dtype,
                element_bytes,
                shape,
            })
        })
        .collect()
}

/// Holds the descriptor against the model and takes from it the extents the model leaves open.
fn fit(inputs: &mut [Port], promised: &[TensorShape]) -> Result<(), LoadError> {
    for tensor in promised {
        let names: Vec<String> = inputs.iter().map(|port| port.name.clone()).collect();
        let Some(port) = inputs.iter_mut().find(|port| port.name == tensor.name) else {
            return Err(LoadError::Descriptor(format!(
                "the descriptor names input {:?}, the model has {names:?}: name it so",
                tensor.name
            )));
        };
        let fits = tensor.shape.len() == port.shape.len()
            && tensor
                .shape
                .iter()
                .zip(&port.shape)
                .all(|(given, own)| *own == 0 || given == own);
        if !fits {
            return Err(LoadError::Descriptor(format!(
                "input {:?}: the descriptor says {:?}, the model {:?}: correct the descriptor",
                port.name, tensor.shape, port.shape
            )));
        }
        if !tensor.dtype.is_empty() && tensor.dtype != port.dtype {
            return Err(LoadError::Descriptor(format!(
                "input {:?}: the descriptor says {}, the model {}: correct the descriptor",
                port.name, tensor.dtype, port.dtype
            )));
        }
        port.shape.clone_from(&tensor.shape);
    }
    match inputs
        .iter()
        .find(|port| promised.iter().all(|tensor| tensor.name != port.name))
    {
        Some(port) => Err(LoadError::Descriptor(format!(
            "the model's input {:?} is not in the descriptor: add it",
            port.name
        ))),
        None => Ok(()),
    }
}

fn bytes_mut(tensor: &mut DynTensor, length: usize) -> &mut [u8] {
    let start = tensor.data_ptr_mut().cast::<u8>();
    if length == 0 || start.is_null() {
        return &mut [];
    }
    #[expect(unsafe_code, reason = "the run time gives a pointer to its buffer")]
    // SAFETY: `DynTensor::new` on the session's own CPU allocator has allocated and zeroed exactly
    // `length` bytes (elements of the shape times their size, as computed by the caller), the
    // buffer lives as long as the tensor, and the borrow of the tensor is exclusive.
    unsafe {
        std::slice::from_raw_parts_mut(start, length)
    }
}

fn bytes<'a>(tensor: &'a ort::value::DynTensorRef<'_>, length: usize) -> &'a [u8] {
    let start = tensor.data_ptr().cast::<u8>();
    if length == 0 || start.is_null() {
        return &[];
    }
    #[expect(unsafe_code, reason = "the run time gives a pointer to its buffer")]
    // SAFETY: outputs of the CPU provider lie in CPU memory; `length` is the product of the
    // value's own shape and its element's size; the buffer lives as long as the borrowed value.
    unsafe {
        std::slice::from_raw_parts(start, length)
    }
}
