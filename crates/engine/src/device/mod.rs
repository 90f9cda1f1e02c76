//! Chooses the device that computes. A hardware GPU and the CPU are measured, and the faster one is taken. A
//! software adapter is slower than the CPU path, so there the CPU is taken. The report gives the reason. Either
//! device can be forced.

mod calibration;
mod open_device;

use crate::error::EngineError;
pub use calibration::calibrate;
use calibration::choose;
use open_device::platform;
pub use open_device::{DeviceCalibration, DeviceChoice, DeviceKind, DeviceReport, OpenDevice};
pub use rewardscope_store::now_ms;

/// Opens the device of this choice. A GPU is opened once in a process or worker, and shared afterwards.
///
/// # Errors
/// [`EngineError::NoDevice`] when a GPU was asked for and there is none, [`EngineError::DeviceFailed`] when it
/// fails while it is measured.
///
/// ```
/// use rewardscope_engine::{DeviceChoice, DeviceKind, device};
///
/// let device = pollster::block_on(device::open(DeviceChoice::Cpu)).unwrap();
/// assert_eq!(device.report.kind, DeviceKind::Cpu);
/// assert_eq!(device.report.reason, "The CPU computes, as chosen.");
/// ```
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

/// Lets a browser's worker receive messages, such as a cancellation. Natively it returns at once.
pub async fn pause() {
    rewardscope_store::sleep(0.0).await;
}

/// Waits 4 ms, so that others can work.
pub async fn wait_a_little() {
    rewardscope_store::sleep(4.0).await;
}
