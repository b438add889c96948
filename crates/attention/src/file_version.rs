//! Every file of ours says first what it is and which version of that.

use crate::Error;

/// # Errors
/// Unless `format` and `version` are what this version of the library writes.
pub(crate) fn check(format: &str, version: u32, own_format: &str, own_version: u32) -> Result<(), Error> {
    let fail = |message| Err(Error::File { what: "format", message });
    if format != own_format {
        let found = Error::excerpt(format);
        return fail(format!("expected {own_format:?}, found {found:?}: this is another kind of file"));
    }
    if version != own_version {
        return fail(format!(
            "{own_format} version {version}; this program reads version {own_version}: write the file again with it"
        ));
    }
    Ok(())
}
