//! The operations of the S3 front, the action that a policy calls each, and what their errors are.

use s3s::{S3Error, S3ErrorCode};

use super::objects::internal;
use crate::audit::Access;
use crate::call::Replayed;
use crate::store::StoreError;

macro_rules! operations {
    ($($name:ident $action:literal $access:ident;)+) => {
        /// An operation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Operation {
            $(#[doc = concat!("Needs `", $action, "`.")] $name),+
        }

        impl Operation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// The action in policies, which several share.
            #[must_use]
            pub fn action(self) -> &'static str {
                match self { $(Self::$name => $action),+ }
            }

            /// Whether it can change something.
            #[must_use]
            pub fn access(self) -> Access {
                match self { $(Self::$name => Access::$access),+ }
            }
        }
    };
}

operations! {
    HeadBucket "s3:ListBucket" Read;
    GetBucketLocation "s3:GetBucketLocation" Read;
    HeadObject "s3:GetObject" Read;
    GetObject "s3:GetObject" Read;
    PutObject "s3:PutObject" Write;
    DeleteObject "s3:DeleteObject" Write;
    ListObjects "s3:ListBucket" Read;
    ListObjectsV2 "s3:ListBucket" Read;
    CreateMultipartUpload "s3:PutObject" Write;
    UploadPart "s3:PutObject" Write;
    CompleteMultipartUpload "s3:PutObject" Write;
    AbortMultipartUpload "s3:AbortMultipartUpload" Write;
    ListParts "s3:ListMultipartUploadParts" Read;
}

/// Why a change was not made.
#[derive(Debug)]
pub(super) enum Unmade {
    Store(StoreError),
    Replayed(Replayed),
}

impl From<StoreError> for Unmade {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Replayed> for Unmade {
    fn from(replayed: Replayed) -> Self {
        Self::Replayed(replayed)
    }
}

impl From<Unmade> for S3Error {
    fn from(unmade: Unmade) -> Self {
        match unmade {
            Unmade::Store(error) => internal(error),
            Unmade::Replayed(replayed) => {
                Self::with_message(S3ErrorCode::SlowDown, replayed.to_string())
            }
        }
    }
}
