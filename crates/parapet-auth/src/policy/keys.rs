//! Names of condition keys.
//!
//! A misspelt key is missing from every request, and then `StringNotEquals`, `…IfExists` and
//! `ForAllValues` hold: the restriction is gone. So keys of the namespaces that we know whole are
//! refused when they are unknown; of other namespaces (identity providers name their own) only the
//! form is checked.

/// Global keys of the original (IAM user guide, "AWS global condition context keys"), in lower case.
/// Some speak of what this server does not have, such as organizations, and are never set.
const GLOBAL: &[&str] = &[
    "aws:assumedroot",
    "aws:calledvia",
    "aws:calledviafirst",
    "aws:calledvialast",
    "aws:chatbotsourcearn",
    "aws:currenttime",
    "aws:ec2instancesourceprivateipv4",
    "aws:ec2instancesourcevpc",
    "aws:epochtime",
    "aws:federatedprovider",
    "aws:multifactorauthage",
    "aws:multifactorauthpresent",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalisawsservice",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:principalservicename",
    "aws:principalservicenameslist",
    "aws:principaltype",
    "aws:referer",
    "aws:requestedregion",
    "aws:resourceaccount",
    "aws:resourceorgid",
    "aws:resourceorgpaths",
    "aws:securetransport",
    "aws:signinsessionarn",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceidentity",
    "aws:sourceip",
    "aws:sourceorgid",
    "aws:sourceorgpaths",
    "aws:sourcevpc",
    "aws:sourcevpcarn",
    "aws:sourcevpce",
    "aws:tagkeys",
    "aws:tokenissuetime",
    "aws:useragent",
    "aws:userid",
    "aws:username",
    "aws:viaawsservice",
    "aws:vpceaccount",
    "aws:vpceorgid",
    "aws:vpceorgpaths",
    "aws:vpcsourceip",
];

/// Global keys that a tag's name follows.
const WITH_TAG: &[&str] = &["aws:principaltag/", "aws:requesttag/", "aws:resourcetag/"];

/// Our own keys, in lower case.
const OWN: &[&str] = &["parapet:tlsversion"];

/// Namespaces that have no keys but [`OWN`]: what policies ask about these services is in the tags.
const WHOLE: &[&str] = &["panorama:", "parapet:"];

/// Refuses what is no condition key.
pub(super) fn check(name: &str) -> Result<(), String> {
    let key = name.to_ascii_lowercase();
    let shown = super::arn::shortened(name);
    let plain = |char: char| !char.is_control() && !"${}*?'\",".contains(char);
    if name.is_empty() || name.len() > 256 || !name.chars().all(plain) || name.trim() != name {
        return Err(format!("{shown:?} is no condition key"));
    }
    let tag = WITH_TAG.iter().find_map(|prefix| key.strip_prefix(prefix));
    if let Some(tag) = tag {
        return if tag.is_empty() {
            Err(format!("{shown:?} names no tag: write {shown}Key"))
        } else {
            Ok(())
        };
    }
    if key.starts_with("aws:") && !GLOBAL.contains(&key.as_str()) {
        return Err(format!("{shown:?} is an unknown condition key"));
    }
    if OWN.contains(&key.as_str()) {
        return Ok(());
    }
    if WHOLE.iter().any(|space| key.starts_with(space)) {
        return Err(format!(
            "{shown:?} is an unknown condition key: use aws:ResourceTag/… to tell resources apart"
        ));
    }
    // `accounts.example.com:aud`, `accounts.example.com/path:sub`, `s3:prefix`.
    match name.rsplit_once(':') {
        Some((space, last))
            if !space.is_empty() && !last.is_empty() && !name.contains(char::is_whitespace) =>
        {
            Ok(())
        }
        // A tag's name may hold spaces: `iam:ResourceTag/Cost Center`.
        Some((space, last)) if !space.is_empty() && last.contains('/') => Ok(()),
        _ => Err(format!(
            "{shown:?} is no condition key: write its namespace too, as in aws:SourceIp"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_original_and_of_identity_providers_are_known() {
        for key in [
            "aws:SourceIp",
            "AWS:SOURCEIP",
            "aws:ResourceTag/Cost Center",
            "aws:PrincipalTag/a:b",
            "parapet:TlsVersion",
            "iam:PassedToService",
            "s3:prefix",
            "login.example.com/realm:aud",
            "iam:ResourceTag/Cost Center",
        ] {
            assert_eq!(check(key), Ok(()), "{key}");
        }
    }

    #[test]
    fn misspelt_keys_are_refused_by_name() {
        for key in [
            "aws:SorceIp",
            "aws:ResourceTag/",
            "aws:ResourceTag",
            "panorama:DeviceId",
            "parapet:TlsVersions",
            "SourceIp",
            "",
            ":",
            "a:",
            ":a",
            "aws:Source Ip",
            "s3:pre fix",
            "a\nb:c",
            "a${b}:c",
        ] {
            let error = check(key).unwrap_err();
            assert!(
                error.contains("condition key") || error.contains("tag"),
                "{error}"
            );
        }
    }
}
