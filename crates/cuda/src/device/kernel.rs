//! Embedded kernels: loading and launching.

use super::{Device, driver_error, result, sys, while_nothing_is_recorded};
use crate::Error;
use cudarc::driver::{CudaStream, DriverError};
use std::ffi::{CString, c_void};
use std::sync::Arc;

/// A kernel ready to launch.
#[derive(Clone)]
pub(crate) struct Kernel {
    device: Device,
    function: sys::CUfunction,
    /// Keeps the code loaded.
    _module: Arc<Module>,
    name: &'static str,
    starts_early: bool,
}

struct Module {
    device: Device,
    module: sys::CUmodule,
}

/// How many blocks of how many threads, with how much dynamic shared memory each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub blocks: (u32, u32, u32),
    pub threads: u32,
    pub shared_bytes: u32,
}

impl Grid {
    /// One block of `threads` for each of `rows` rows.
    pub(crate) fn rows(rows: usize, threads: u32) -> Self {
        Self { blocks: (rows as u32, 1, 1), threads, shared_bytes: 0 }
    }
}

impl Device {
    /// Loads kernel `name` out of `image`, a fat binary as `scripts/build-kernels` makes them; the driver takes the code
    /// that fits the device. `shared_bytes` is the most dynamic shared memory that a launch will ask for.
    pub(crate) fn kernel(&self, image: &[u8], name: &'static str, shared_bytes: usize) -> Result<Kernel, Error> {
        let Self { properties, .. } = self;
        if shared_bytes > properties.shared_memory_bytes {
            return Err(Error::Unsupported {
                what: "shared memory of a block",
                expected: format!("at least {shared_bytes} bytes for kernel {name}"),
                found: format!("{} on {}", properties.shared_memory_bytes, properties.name),
            });
        }
        let (major, minor) = properties.capability;
        let loading =
            |error| driver_error(format!("loading kernel {name} for compute capability {major}.{minor}"), error);
        self.raw_stream()?;
        while_nothing_is_recorded(|| self.load(image, name, shared_bytes)).map_err(loading)
    }

    fn load(&self, image: &[u8], name: &'static str, shared_bytes: usize) -> Result<Kernel, DriverError> {
        // SAFETY: `image` is a whole fat binary, whose header says how long it is.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) }?;
        let module = Arc::new(Module { device: self.clone(), module });
        let c_name = CString::new(name).expect("a name in the source has no zero byte");
        // SAFETY: the module is loaded.
        let function = unsafe { result::module::get_function(module.module, c_name) }?;
        let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function is loaded, and the size was checked above.
        unsafe { result::function::set_function_attribute(function, attribute, shared_bytes as i32) }?;
        // The driver would load the code with the first launch, and some request would wait for it.
        // SAFETY: the function is there.
        unsafe { sys::cuFuncLoad(function) }.result()?;
        Ok(Kernel { device: self.clone(), function, _module: module, name, starts_early: false })
    }
}

impl Kernel {
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The kernel, launched while the one before it in the stream may still run: its code begins with `wait_for_previous`, of
    /// `kernels/ptx/early_start.cuh`. Nothing changes where the device knows no such launches.
    pub(crate) fn started_early(mut self) -> Self {
        self.starts_early = self.device.properties().capability >= (9, 0);
        self
    }

    /// Checks that operands lie on the kernel's device.
    pub(crate) fn check_device<'a>(
        &self,
        operands: impl IntoIterator<Item = (&'static str, &'a Device)>,
    ) -> Result<(), Error> {
        self.device.check_owns(operands)
    }

    /// Starts the kernel on the device's stream, with `arguments` as its only parameter.
    ///
    /// # Safety
    /// `A` is the kernel's parameter, field by field, and every access the kernel makes with it stays inside buffers that
    /// nobody else uses at that time in the stream's order.
    pub(crate) unsafe fn launch<A>(&self, grid: Grid, arguments: &A) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe { self.launch_on(&self.device.stream, grid, arguments) }
    }

    /// As [`launch`](Self::launch), on a stream of the device.
    ///
    /// # Safety
    /// As there, in the order of that stream and of what it waits for.
    pub(super) unsafe fn launch_on<A>(&self, stream: &CudaStream, grid: Grid, arguments: &A) -> Result<(), Error> {
        self.device.bind()?;
        let mut parameters = [std::ptr::from_ref(arguments).cast_mut().cast::<c_void>()];
        let Grid { blocks, threads, shared_bytes } = grid;
        let mut early = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: blocks.0,
            gridDimY: blocks.1,
            gridDimZ: blocks.2,
            blockDimX: threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shared_bytes,
            hStream: stream.cu_stream(),
            attrs: &mut early,
            numAttrs: self.starts_early.into(),
        };
        // SAFETY: the driver copies parameter and attribute before it returns; the rest is the caller's promise.
        unsafe { sys::cuLaunchKernelEx(&config, self.function, parameters.as_mut_ptr(), std::ptr::null_mut()) }
            .result()
            .map_err(|error| driver_error(format!("launching kernel {} as {grid:?}", self.name), error))
    }
}

// SAFETY: a function is a handle that the driver lets any thread use.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}
// SAFETY: a module is a handle that the driver lets any thread use.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Drop for Module {
    fn drop(&mut self) {
        // A fault of earlier work, which is what can fail here, is reported where that work is waited for.
        if self.device.raw_stream().is_ok() && self.device.synchronize().is_ok() {
            // SAFETY: no kernel of the module runs any more, and none can be launched.
            let _ = while_nothing_is_recorded(|| unsafe { result::module::unload(self.module) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image;

    #[test]
    fn code_is_there_before_the_first_launch() {
        let device = match Device::open(0) {
            Ok(device) => device,
            Err(error @ (Error::NoDriver | Error::NoDevice { .. } | Error::OldDriver { .. })) => {
                return eprintln!("SKIPPED: {error}");
            }
            Err(error) => panic!("{error}"),
        };
        let kernel = device.kernel(image!("attend_sm80"), "attend_sm80_d128", 0).unwrap();
        let mut state = sys::CUfunctionLoadingState::CU_FUNCTION_LOADING_STATE_UNLOADED;
        // SAFETY: the function is there, and its state is written to where there is room for it.
        unsafe { sys::cuFuncIsLoaded(&mut state, kernel.function) }.result().unwrap();
        assert_eq!(state, sys::CUfunctionLoadingState::CU_FUNCTION_LOADING_STATE_LOADED);
    }
}
