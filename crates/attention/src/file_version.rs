//! Every file of ours says first what it is and which version of that.

use crate::Error;
use std::ops::RangeInclusive;

/// # Errors
/// Unless `format` and `version` are what this version of the library writes.
pub(crate) fn check(format: &str, version: u32, own_format: &str, own_version: u32) -> Result<(), Error> {
    check_any(format, version, own_format, own_version..=own_version)
}

/// # Errors
/// Unless `format` and `version` are what this version of the library writes, or one that it still reads.
pub(crate) fn check_any(
    format: &str,
    version: u32,
    own_format: &str,
    own_versions: RangeInclusive<u32>,
) -> Result<(), Error> {
    let fail = |message| Err(Error::File { what: "format", message });
    if format != own_format {
        let found = Error::excerpt(format);
        return fail(format!("expected {own_format:?}, found {found:?}: this is another kind of file"));
    }
    if !own_versions.contains(&version) {
        let (oldest, newest) = own_versions.into_inner();
        let reads =
            if oldest == newest { format!("version {newest}") } else { format!("versions {oldest} to {newest}") };
        return fail(format!(
            "{own_format} version {version}; this program reads {reads}: write the file again with it"
        ));
    }
    Ok(())
}
