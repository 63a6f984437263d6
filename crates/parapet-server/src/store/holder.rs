//! Who has policies and tags: the two words that several tables begin their keys with.

/// The kinds of identity that policies are attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HolderKind {
    /// A user.
    User,
    /// A group.
    Group,
    /// A role.
    Role,
}

impl HolderKind {
    /// As it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Role => "role",
        }
    }
}

/// One identity that policies are attached to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    /// What it is.
    pub kind: HolderKind,
    /// Its unique ID (`AIDA…`, `AGPA…`, `AROA…`).
    pub id: String,
}

impl Holder {
    /// The user with this ID.
    pub fn user(id: impl Into<String>) -> Self {
        Self {
            kind: HolderKind::User,
            id: id.into(),
        }
    }

    /// The group with this ID.
    pub fn group(id: impl Into<String>) -> Self {
        Self {
            kind: HolderKind::Group,
            id: id.into(),
        }
    }

    /// The role with this ID.
    pub fn role(id: impl Into<String>) -> Self {
        Self {
            kind: HolderKind::Role,
            id: id.into(),
        }
    }
}
