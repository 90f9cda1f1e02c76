//! Which device computes. The GPU is taken where it is a real one; a software adapter is slower
//! than the CPU path, so there the CPU is taken and the reason said. Either can be forced.

mod calibration;
mod open_device;

use crate::error::EngineError;
pub use calibration::calibrate;
use calibration::choose;
use open_device::platform;
pub use open_device::{DeviceCalibration, DeviceChoice, DeviceKind, DeviceReport, OpenDevice};
pub use rewardscope_store::now_ms;

/// The device of this choice. A GPU is opened once a process or worker and shared afterwards.
///
/// # Errors
/// [`EngineError::NoDevice`] when a GPU was asked for and there is none.
pub async fn open(choice: DeviceChoice) -> Result<OpenDevice, EngineError> {
    let no_gpu = |reason: String| match choice {
        DeviceChoice::Gpu => Err(EngineError::NoDevice { wanted: "GPU", reason }),
        _ => Ok(OpenDevice::cpu(format!("The CPU computes, because {reason}."))),
    };
    if choice == DeviceChoice::Cpu {
        return Ok(OpenDevice::cpu("The CPU computes, as chosen.".to_owned()));
    }
    let adapter = match platform::probe().await {
        Ok(adapter) => adapter,
        Err(reason) => return no_gpu(reason),
    };
    if adapter.software && choice == DeviceChoice::Auto {
        return no_gpu(format!("the only GPU here is one in software ({}), which is slower", adapter.name));
    }
    let reason = match choice {
        DeviceChoice::Gpu => format!("The GPU computes, as chosen: {}.", adapter.name),
        _ => format!("The GPU computes: {}.", adapter.name),
    };
    let device = match platform::opened(adapter, reason).await {
        Ok(device) => device,
        Err(reason) => return no_gpu(reason),
    };
    if choice == DeviceChoice::Gpu {
        return Ok(device);
    }
    choose(device).await
}

/// Lets the worker receive messages, such as a cancellation; natively there is nobody to wait for.
pub async fn pause() {
    rewardscope_store::sleep(0.0).await;
}

/// Lets others work for a few milliseconds.
pub async fn wait_a_little() {
    rewardscope_store::sleep(4.0).await;
}
