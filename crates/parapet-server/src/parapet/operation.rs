//! The operations: name, method and path.

use percent_encoding::percent_decode_str;

use crate::audit::Access;

macro_rules! operations {
    ($($name:ident $method:literal $path:literal;)+) => {
        /// An operation of the service.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Operation {
            $(#[doc = concat!("`", $method, " ", $path, "`.")] $name),+
        }

        impl Operation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// Its name in policies.
            #[must_use]
            pub fn action(self) -> &'static str {
                match self { $(Self::$name => concat!("parapet:", stringify!($name))),+ }
            }

            /// HTTP method.
            #[must_use]
            pub fn method(self) -> &'static str {
                match self { $(Self::$name => $method),+ }
            }

            /// Path; its last segment may be a label in braces.
            #[must_use]
            pub fn template(self) -> &'static str {
                match self { $(Self::$name => $path),+ }
            }
        }
    };
}

operations! {
    CreateConsoleSession "POST" "/parapet/console-sessions";
    UpdateCamera "PUT" "/parapet/cameras/{Name}";
    PutInstanceConfinement "PUT" "/parapet/confinements/{ApplicationInstanceId}";
    GetInstanceConfinement "GET" "/parapet/confinements/{ApplicationInstanceId}";
    SearchAudit "GET" "/parapet/audit";
    ExportAudit "GET" "/parapet/audit/records";
    RotateMasterKey "POST" "/parapet/master-key/rotate";
    DescribeMasterKey "GET" "/parapet/master-key";
    RollAuthority "POST" "/parapet/authorities/{Kind}";
    DescribeAuthorities "GET" "/parapet/authorities";
    RevokeUserSessions "POST" "/parapet/revoke-sessions/users/{UserName}";
    RevokeRoleSessions "POST" "/parapet/revoke-sessions/roles/{RoleName}";
}

impl Operation {
    /// The operation of a raw path, and its label, decoded; empty where it has none.
    #[must_use]
    pub fn find(method: &str, raw_path: &str) -> Option<(Self, String)> {
        Self::ALL
            .iter()
            .filter(|operation| operation.method() == method)
            .find_map(|operation| Some((*operation, operation.matched(raw_path)?)))
    }

    /// Name of the label in its path.
    #[must_use]
    pub fn label(self) -> Option<&'static str> {
        let (_, label) = self.template().rsplit_once('/')?;
        label.strip_prefix('{')?.strip_suffix('}')
    }

    /// Whether it can change something.
    #[must_use]
    pub fn access(self) -> Access {
        if self.method() == "GET" {
            Access::Read
        } else {
            Access::Write
        }
    }

    /// The label of a path; `None` when the path is another's.
    fn matched(self, raw_path: &str) -> Option<String> {
        let Some(label) = self.label() else {
            return (self.template() == raw_path).then(String::new);
        };
        let head = &self.template()[..self.template().len() - label.len() - 2];
        let raw = raw_path.strip_prefix(head)?;
        if raw.is_empty() || raw.contains('/') {
            return None;
        }
        let label = percent_decode_str(raw).decode_utf8().ok()?;
        Some(label.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_an_operation_and_its_label() {
        assert_eq!(
            Operation::find("PUT", "/parapet/cameras/gate%20north"),
            Some((Operation::UpdateCamera, "gate north".to_owned()))
        );
        assert_eq!(
            Operation::find("POST", "/parapet/console-sessions"),
            Some((Operation::CreateConsoleSession, String::new()))
        );
    }

    #[test]
    fn what_is_not_in_the_table_is_nothing() {
        for (method, path) in [
            ("GET", "/parapet/cameras/gate"),
            ("PUT", "/parapet/cameras/"),
            ("PUT", "/parapet/cameras/a/b"),
            ("PUT", "/parapet/cameras/%ff"),
            ("POST", "/parapet/console-sessions/x"),
        ] {
            assert_eq!(Operation::find(method, path), None, "{method} {path}");
        }
    }
}
