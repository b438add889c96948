//! Without a driver, or without that many devices, opening one is an error that says so.

use cuda::Error;
use cuda::device::Device;

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let error = Device::open(9999).err().expect("nobody has 10,000 devices");
    assert!(matches!(error, Error::NoDriver | Error::NoDevice { .. } | Error::Driver { .. }), "{error}");
    assert!(!error.to_string().is_empty());
}

#[test]
fn an_old_driver_is_told_its_version() {
    let error = Error::OldDriver { found: 12_040, needed: 13_000 };
    assert_eq!(
        error.to_string(),
        "the driver supports CUDA 12.4, the kernels need 13.0: update the driver to version 580 or newer"
    );
}
