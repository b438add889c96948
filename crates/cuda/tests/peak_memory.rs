//! The most memory that buffers held. A file of its own: the count is the whole process's.

mod on_device;

#[test]
fn the_peak_is_of_the_time_since_it_was_forgotten() {
    let Some(device) = on_device::device() else { return };
    const MIB: usize = 1 << 20;
    let kept = device.zeros::<u8>(MIB).unwrap();
    drop(device.zeros::<u8>(64 * MIB).unwrap());
    let before = device.peak_memory().unwrap();
    if before == 0 {
        return on_device::skipped(&"this device has no pool that counts");
    }
    assert!(before >= 65 * MIB, "{before}");
    device.forget_peak_memory().unwrap();
    let forgotten = device.peak_memory().unwrap();
    assert!((MIB..32 * MIB).contains(&forgotten), "{forgotten}");
    drop(device.zeros::<u8>(8 * MIB).unwrap());
    let after = device.peak_memory().unwrap();
    assert!((9 * MIB..64 * MIB).contains(&after), "{after}");
    assert_eq!(kept.read().unwrap(), vec![0; MIB]);
}
