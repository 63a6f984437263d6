//! How a process of an appliance words what went wrong: the error and its causes in one line.
//!
//! Workers end with such a line on stderr, which the agent takes into the camera's or the model's
//! log; launcher and agent put it into messages for the operator. Cuts nothing: whoever sends the
//! text on knows the limit.

use std::error::Error;
use std::process::ExitCode;

/// The error and its causes, `: ` between them.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What `main` gives back when it failed; the reason goes to stderr.
#[must_use]
pub fn exit(program: &str, error: &dyn Error) -> ExitCode {
    eprintln!("{program}: failed to {}", with_causes(error));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("read the model")]
    struct Outer(#[from] io::Error);

    #[test]
    fn a_failure_names_its_causes_outermost_first() {
        let inner = io::Error::other("the disk is gone");
        assert_eq!(
            with_causes(&Outer(inner)),
            "read the model: the disk is gone"
        );
        assert_eq!(with_causes(&io::Error::other("alone")), "alone");
    }
}
