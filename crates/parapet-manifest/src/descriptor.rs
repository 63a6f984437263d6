//! `descriptor.json`: how a container starts, what a model takes (`spec/manifests.md` section 5).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::error::{Document, ManifestError};
use crate::graph::read_all;
use crate::json::{self, Object};
use crate::names::NameRule;

/// Bytes of a descriptor.
const LIMIT: usize = 256 << 10;
/// Dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;
/// Length of one dimension.
const MAX_LENGTH: i64 = i32::MAX as i64;
/// Name of a tensor: what models really use, `serving_default_input:0` among it.
const TENSOR_NAME: NameRule = crate::names::URI;

/// One of the two kinds of descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Descriptor {
    /// Of a container.
    Runtime(RuntimeDescriptor),
    /// Of a model.
    Model(ModelDescriptor),
}

/// How a container starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeDescriptor {
    /// The command; without one the package cannot be registered.
    pub entry: Option<Entry>,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The program; `$default` stands for none.
    pub path: String,
    /// The file handed to it.
    pub name: Option<String>,
    /// What follows.
    pub arguments: Vec<String>,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
}

impl RuntimeDescriptor {
    /// Program, file and arguments, when there is a program.
    #[must_use]
    pub fn command(&self) -> Option<Vec<String>> {
        let entry = self
            .entry
            .as_ref()
            .filter(|entry| entry.path != "$default")?;
        let first = [Some(&entry.path), entry.name.as_ref()];
        Some(
            first
                .into_iter()
                .flatten()
                .chain(&entry.arguments)
                .cloned()
                .collect(),
        )
    }

    /// Further environment variables.
    #[must_use]
    pub fn environment(&self) -> &[(String, String)] {
        self.entry.as_ref().map_or(&[], |entry| &entry.environment)
    }
}

/// What a model takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDescriptor {
    /// What it was made with.
    pub framework: Framework,
    /// Major and minor version of that.
    pub framework_version: Option<String>,
    /// Its inputs.
    pub inputs: Vec<Tensor>,
    /// How exactly to compute.
    pub precision: Precision,
}

/// What a model was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framework {
    /// `TENSORFLOW`.
    Tensorflow,
    /// `PYTORCH`.
    Pytorch,
    /// `MXNET`.
    Mxnet,
    /// `ONNX`: ours, beside the original's three.
    Onnx,
}

/// How exactly to compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// `FP32`.
    #[default]
    Fp32,
    /// `FP16`.
    Fp16,
}

/// An input of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Key in the dictionary of a call.
    pub name: String,
    /// Lengths of its dimensions, batch first.
    pub shape: Vec<u64>,
    /// Type of its elements, where the descriptor says it.
    pub kind: Option<TensorType>,
}

/// Types of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum TensorType {
    Int8,
    Uint8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Float16,
    Float32,
    Float64,
}

impl Descriptor {
    /// Reads the text of a `descriptor.json`.
    ///
    /// # Errors
    /// The first rule it breaks, with its path.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let document = Document::Descriptor;
        let value = json::parse(document, text, LIMIT)?;
        if value.get("mlModelDescriptor").is_some() {
            let root = Object::root(document, "mlModelDescriptor", &value)?;
            ModelDescriptor::read(&root).map(Self::Model)
        } else {
            let root = Object::root(document, "runtimeDescriptor", &value)?;
            RuntimeDescriptor::read(&root).map(Self::Runtime)
        }
    }
}

impl RuntimeDescriptor {
    fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        from.only(&["envelopeVersion", "entry", "events"])?;
        from.envelope()?;
        // Handlers have no public use; they are taken and not called.
        from.objects("events")?;
        let entry = from
            .object("entry")?
            .map(|entry| Entry::read(&entry))
            .transpose()?;
        Ok(Self { entry })
    }
}

impl Entry {
    fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        from.only(&["path", "name", "arguments", "environment"])?;
        let path = from.bounded("path", 1, 4096)?;
        let name = from.bounded("name", 1, 4096)?;
        let arguments = from.texts("arguments")?;
        let environment = read_all(&from.objects("environment")?, |variable| {
            variable.only(&["name", "value"])?;
            let name = variable.needed_text("name")?;
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(variable.broken("name", name, "a variable's name without '='"));
            }
            let value = variable.needed_text("value")?;
            no_nul(&variable.at("value"), value)?;
            Ok((name.to_owned(), value.to_owned()))
        })?;
        let others = ["path", "arguments", "environment"];
        if name.is_none() && others.iter().any(|other| from.get(other).is_some()) {
            return Err(from.missing("name"));
        }
        for text in path.iter().chain(&name).chain(&arguments) {
            no_nul(&from.path, text)?;
        }
        let path = path.unwrap_or_else(|| "$default".to_owned());
        Ok(Self {
            path,
            name,
            arguments,
            environment,
        })
    }
}

/// The kernel ends arguments and variables at a zero byte.
fn no_nul(path: &str, text: &str) -> Result<(), ManifestError> {
    if !text.contains('\0') {
        return Ok(());
    }
    Err(ManifestError::Rule {
        document: Document::Descriptor,
        path: path.to_owned(),
        value: text.chars().take(80).collect(),
        rule: "a text without zero bytes".to_owned(),
    })
}

impl ModelDescriptor {
    fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        from.only(&[
            "envelopeVersion",
            "framework",
            "frameworkVersion",
            "inputs",
            "precisionMode",
        ])?;
        from.envelope()?;
        let framework = match from.needed_text("framework")? {
            "TENSORFLOW" => Framework::Tensorflow,
            "PYTORCH" => Framework::Pytorch,
            "MXNET" => Framework::Mxnet,
            "ONNX" => Framework::Onnx,
            other => {
                return Err(from.broken("framework", other, "TENSORFLOW, PYTORCH, MXNET or ONNX"));
            }
        };
        let precision = match from.text("precisionMode")? {
            None | Some("FP32") => Precision::Fp32,
            Some("FP16") => Precision::Fp16,
            Some(other) => return Err(from.broken("precisionMode", other, "FP32 or FP16")),
        };
        if from.get("inputs").is_none() {
            return Err(from.missing("inputs"));
        }
        let objects = from.objects("inputs")?;
        let inputs = read_all(&objects, Tensor::read)?;
        let mut seen = BTreeSet::new();
        for (object, input) in objects.iter().zip(&inputs) {
            if !seen.insert(&input.name) {
                return Err(object.duplicate("name", &input.name));
            }
        }
        let framework_version = read_framework_version(from)?;
        Ok(Self {
            framework,
            framework_version,
            inputs,
            precision,
        })
    }
}

fn read_framework_version(from: &Object<'_>) -> Result<Option<String>, ManifestError> {
    let Some(text) = from.text("frameworkVersion")? else {
        return Ok(None);
    };
    let ok = (3..=10).contains(&text.len())
        && text.split_once('.').is_some_and(|(major, rest)| {
            let rest_ok = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
            !major.is_empty()
                && major.bytes().all(|b| b.is_ascii_digit())
                && !rest.is_empty()
                && rest_ok
        });
    if !ok {
        return Err(from.broken("frameworkVersion", text, "major and minor, such as 1.8"));
    }
    Ok(Some(text.to_owned()))
}

impl Tensor {
    fn read(from: &Object<'_>) -> Result<Self, ManifestError> {
        from.only(&["name", "shape", "type"])?;
        let name = from.needed_name("name", TENSOR_NAME)?;
        let dimensions = from.list("shape")?.ok_or_else(|| from.missing("shape"))?;
        if dimensions.len() > MAX_DIMENSIONS {
            let rule = format!("at most {MAX_DIMENSIONS} dimensions");
            return Err(from.broken("shape", &dimensions.len().to_string(), &rule));
        }
        let length = |(path, value): (String, &Value)| match json::integer(value) {
            Some(length @ 1..=MAX_LENGTH) => Ok(length.unsigned_abs()),
            _ => Err(ManifestError::Rule {
                document: Document::Descriptor,
                path,
                value: value.to_string().chars().take(80).collect(),
                rule: "a length of 1 or more".to_owned(),
            }),
        };
        let shape = dimensions
            .into_iter()
            .map(length)
            .collect::<Result<_, _>>()?;
        let kind = match from.text("type")? {
            None => None,
            Some(text) => Some(TensorType::from_text(text).ok_or_else(|| {
                let rule = "int8, uint8, int16, uint16, int32, uint32, float16, float32 or float64";
                from.broken("type", text, rule)
            })?),
        };
        Ok(Self { name, shape, kind })
    }
}

impl TensorType {
    fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "int8" => Self::Int8,
            "uint8" => Self::Uint8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "uint32" => Self::Uint32,
            "float16" => Self::Float16,
            "float32" => Self::Float32,
            "float64" => Self::Float64,
            _ => return None,
        })
    }
}
