//! Element types: ONNX Runtime's and NumPy's names for the same numbers.

use ort::value::TensorElementType;

/// Those that NumPy has too, with its name and their size in bytes.
const ELEMENTS: &[(TensorElementType, &str, usize)] = &[
    (TensorElementType::Float32, "float32", 4),
    (TensorElementType::Float64, "float64", 8),
    (TensorElementType::Float16, "float16", 2),
    (TensorElementType::Int8, "int8", 1),
    (TensorElementType::Int16, "int16", 2),
    (TensorElementType::Int32, "int32", 4),
    (TensorElementType::Int64, "int64", 8),
    (TensorElementType::Uint8, "uint8", 1),
    (TensorElementType::Uint16, "uint16", 2),
    (TensorElementType::Uint32, "uint32", 4),
    (TensorElementType::Uint64, "uint64", 8),
    (TensorElementType::Bool, "bool", 1),
];

/// NumPy's name and the size in bytes, or `None` for a type that NumPy lacks.
pub(crate) fn numpy(element: TensorElementType) -> Option<(&'static str, usize)> {
    ELEMENTS
        .iter()
        .find(|(e, _, _)| *e == element)
        .map(|(_, name, size)| (*name, *size))
}

/// Elements of a shape, or `None` when it is more than memory could hold.
pub(crate) fn count(shape: &[u64]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_u64, |product, extent| product.checked_mul(*extent))
        .and_then(|product| usize::try_from(product).ok())
        .filter(|product| *product <= 1 << 31)
}
