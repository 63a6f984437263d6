//! Why a dialogue ended: a stage's code, and a sentence for the operator without secrets.

use parapet_media::protocol::CameraFault;

/// Longest message, as the worker protocol says.
const MAX_MESSAGE: usize = 200;
/// Longest quotation of what a camera or a library said.
const MAX_QUOTE: usize = 90;

/// The end of a dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: CameraFault,
    pub(crate) message: String,
    /// Trying again without a change makes no sense, or does harm.
    pub(crate) last: bool,
}

impl Fault {
    /// A failure that may pass.
    pub(crate) fn passing(code: CameraFault, message: impl Into<String>) -> Self {
        Self {
            code,
            message: bounded(&message.into(), MAX_MESSAGE),
            last: false,
        }
    }

    /// A failure that stays until somebody changes something.
    pub(crate) fn lasting(code: CameraFault, message: impl Into<String>) -> Self {
        Self {
            last: true,
            ..Self::passing(code, message)
        }
    }
}

/// What a library says of a failure, fit to be shown: its first line, printable, short, and
/// nothing at all where it repeats a secret.
pub(crate) fn quote(text: &str, credentials: Option<&(String, String)>) -> String {
    if let Some((_, password)) = credentials
        && !password.is_empty()
        && text.contains(password.as_str())
    {
        return String::new();
    }
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        String::new()
    } else {
        format!(" ({})", bounded(line, MAX_QUOTE))
    }
}

/// The beginning of a text as printable characters.
pub(crate) fn bounded(text: &str, most: usize) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(most)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_short_and_printable() {
        let fault = Fault::passing(CameraFault::Protocol, "a\u{7}b\n".repeat(100));
        assert_eq!(fault.message.chars().count(), MAX_MESSAGE);
        assert!(!fault.message.chars().any(char::is_control));
    }

    #[test]
    fn a_password_is_never_quoted() {
        let credentials = ("admin".to_owned(), "hunter2".to_owned());
        assert_eq!(quote("no hunter2 here", Some(&credentials)), "");
        assert_eq!(
            quote("EOF while reading\n\nconn: x", Some(&credentials)),
            " (EOF while reading)"
        );
        assert_eq!(
            quote("odd", Some(&(String::new(), String::new()))),
            " (odd)"
        );
    }
}
