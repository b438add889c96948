//! The only place that knows the driver: context, stream, buffers, kernels, events.
//!
//! Everything of one [`Device`] runs on one stream in the order it was asked for. Copies to the host wait for it; nothing
//! else does. A second stream has work that may run beside it for a while (`Beside`).

mod beside;
mod buffer;
mod host_room;
mod kernel;
mod recording;
mod tensor_map;
mod timer;

use crate::Error;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute};
use cudarc::driver::{CudaContext, CudaStream};
use std::fmt;
use std::sync::Arc;

pub(crate) use beside::Beside;
pub use buffer::{Buffer, View, ViewMut};
pub(crate) use buffer::{Pointer, PointerMut};
pub use host_room::HostRoom;
pub(crate) use kernel::{Grid, Kernel};
pub use recording::Recording;
pub(crate) use recording::while_nothing_is_recorded;
pub(crate) use tensor_map::TensorMap;
pub use timer::{Clock, Timer};

/// CUDA version of the compiler of the embedded kernels, which the driver must know: `1000 major + 10 minor`.
const NEEDED_DRIVER: i32 = 13_000;

/// One GPU and the stream that all work on it runs on. Clones are handles of the same.
#[derive(Clone)]
pub struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// Of work beside the stream's.
    side: Arc<CudaStream>,
    properties: Arc<Properties>,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Index among the devices the driver shows.
    pub ordinal: usize,
    /// Product name.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Multiprocessors.
    pub multiprocessors: usize,
    /// Device memory.
    pub memory_bytes: usize,
    /// Second-level cache.
    pub l2_bytes: usize,
    /// Shared memory that one block may have.
    pub shared_memory_bytes: usize,
    /// Shared memory that the blocks of a multiprocessor share.
    pub shared_memory_per_multiprocessor_bytes: usize,
    /// CUDA version of the driver, `1000 major + 10 minor`.
    pub driver_version: i32,
}

impl Device {
    /// Number of devices.
    ///
    /// # Errors
    /// [`Error::NoDriver`], or what the driver says.
    pub fn count() -> Result<usize, Error> {
        // SAFETY: loads and unloads the library, which does nothing on loading.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::NoDriver);
        }
        match CudaContext::device_count() {
            Ok(count) => Ok(count as usize),
            Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => Ok(0),
            Err(error) => Err(driver_error("counting devices", error)),
        }
    }

    /// Opens device `ordinal`.
    ///
    /// # Errors
    /// [`Error::NoDriver`], [`Error::NoDevice`], [`Error::OldDriver`], or what the driver says.
    pub fn open(ordinal: usize) -> Result<Self, Error> {
        while_nothing_is_recorded(|| Self::open_now(ordinal))
    }

    fn open_now(ordinal: usize) -> Result<Self, Error> {
        let count = Self::count()?;
        if ordinal >= count {
            return Err(Error::NoDevice { ordinal, count });
        }
        let driver_version = driver_version()?;
        if driver_version < NEEDED_DRIVER {
            return Err(Error::OldDriver { found: driver_version, needed: NEEDED_DRIVER });
        }
        let opening = |error| driver_error(format!("opening device {ordinal}"), error);
        let context = CudaContext::new(ordinal).map_err(opening)?;
        // SAFETY: it would order the uses of a buffer on several streams; here one stream does, and waits for the other.
        unsafe { context.disable_event_tracking() };
        let [stream, side] = [context.new_stream().map_err(opening)?, context.new_stream().map_err(opening)?];
        keep_freed_memory(&context).map_err(opening)?;
        let (major, minor) = context.compute_capability().map_err(opening)?;
        let attribute = |attribute| context.attribute(attribute).map(|x| x as usize).map_err(opening);
        let properties = Properties {
            ordinal,
            name: context.name().map_err(opening)?,
            capability: (major as u32, minor as u32),
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            memory_bytes: context.total_mem().map_err(opening)?,
            l2_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
            shared_memory_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            shared_memory_per_multiprocessor_bytes: attribute(
                Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR,
            )?,
            driver_version,
        };
        Ok(Self { context, stream, side, properties: Arc::new(properties) })
    }

    /// What it is.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// Checks that operands lie on this device.
    ///
    /// To be on the same GPU is not enough: each opening has a stream of its own, and only what one stream does is in order.
    pub(crate) fn check_owns<'a>(
        &self,
        operands: impl IntoIterator<Item = (&'static str, &'a Device)>,
    ) -> Result<(), Error> {
        for (what, device) in operands {
            if !Arc::ptr_eq(&self.stream, &device.stream) {
                let name = |device: &Device| format!("cuda:{}", device.properties.ordinal);
                return Err(Error::OtherDevice { what, expected: name(self), found: name(device) });
            }
        }
        Ok(())
    }

    /// Free and total device memory, bytes; what freed buffers left to the next ones is free.
    ///
    /// # Errors
    /// What the driver says.
    pub fn memory(&self) -> Result<(usize, usize), Error> {
        let asking = |error| driver_error("asking for free memory", error);
        let (free, total) = self.context.mem_get_info().map_err(asking)?;
        let reserved = self.pool(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT).map_err(asking)?;
        let used = self.pool(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT).map_err(asking)?;
        Ok((free + (reserved - used.min(reserved)), total))
    }

    /// Most bytes that buffers held at a time, of all that this process opened on the device, since the beginning or since it
    /// was [forgotten](Self::forget_peak_memory).
    ///
    /// # Errors
    /// What the driver says.
    pub fn peak_memory(&self) -> Result<usize, Error> {
        self.pool(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
            .map_err(|error| driver_error("asking for the most memory used", error))
    }

    /// Waits for all work, and counts [`peak_memory`](Self::peak_memory) anew from what buffers hold then.
    ///
    /// # Errors
    /// Whatever went wrong in that work, or what the driver says.
    pub fn forget_peak_memory(&self) -> Result<(), Error> {
        // Buffers that were dropped are held until the work before is done.
        self.synchronize()?;
        if !self.context.has_async_alloc() {
            return Ok(());
        }
        let mut nothing = 0u64;
        // SAFETY: the device is open, its default pool lives as long, and the attribute is a u64.
        let reset = unsafe {
            result::device::get_default_mem_pool(self.context.cu_device()).and_then(|pool| {
                let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
                sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut nothing).cast()).result()
            })
        };
        reset.map_err(|error| driver_error("forgetting the most memory used", error))
    }

    /// A property of the pool that buffers come from; zero where the device has none.
    fn pool(&self, attribute: sys::CUmemPool_attribute) -> Result<usize, DriverError> {
        let mut value = 0u64;
        if self.context.has_async_alloc() {
            // SAFETY: the device is open, its default pool lives as long, and the attributes asked for are u64.
            unsafe {
                let pool = result::device::get_default_mem_pool(self.context.cu_device())?;
                sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut value).cast()).result()?;
            }
        }
        Ok(value as usize)
    }

    /// Waits until all work asked for is done.
    ///
    /// # Errors
    /// Whatever went wrong in that work: a kernel's fault is reported here.
    pub fn synchronize(&self) -> Result<(), Error> {
        self.stream.synchronize().map_err(|error| driver_error("waiting for the device", error))
    }

    pub(crate) fn raw_stream(&self) -> Result<sys::CUstream, Error> {
        self.bind()?;
        Ok(self.stream.cu_stream())
    }

    fn bind(&self) -> Result<(), Error> {
        self.context.bind_to_thread().map_err(|error| driver_error("binding the context", error))
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { ordinal, name, capability: (major, minor), multiprocessors, memory_bytes, driver_version, .. } =
            self;
        let gib = *memory_bytes as f64 / (1u64 << 30) as f64;
        let (driver, minor_driver) = (driver_version / 1000, driver_version % 1000 / 10);
        write!(
            f,
            "cuda:{ordinal} ({name}, compute capability {major}.{minor}, {multiprocessors} multiprocessors, {gib:.1} GiB, driver for CUDA {driver}.{minor_driver})"
        )
    }
}

/// Lets freed memory wait for the next buffer instead of going back to the driver at every wait.
fn keep_freed_memory(context: &CudaContext) -> Result<(), DriverError> {
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut threshold = u64::MAX;
    // SAFETY: the device is open, its default pool lives as long, and the attribute is a u64.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut threshold).cast()).result()
    }
}

fn driver_version() -> Result<i32, Error> {
    let mut version = 0;
    // SAFETY: writes one integer.
    let code = unsafe { sys::cuDriverGetVersion(&mut version) };
    code.result().map_err(|error| driver_error("asking for the driver's version", error))?;
    Ok(version)
}

fn driver_error(what: impl Into<String>, error: DriverError) -> Error {
    let text = |text: Result<&std::ffi::CStr, _>| text.map(|text| text.to_string_lossy().into_owned()).ok();
    let name = text(error.error_name()).unwrap_or_else(|| format!("{:?}", error.0));
    let code = match text(error.error_string()) {
        Some(description) => format!("{name} ({description})"),
        None => name,
    };
    Error::Driver { what: what.into(), code }
}
