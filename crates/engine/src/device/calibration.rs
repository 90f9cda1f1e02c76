//! Measures how fast the GPU and the CPU are, and chooses the faster one.

use std::sync::OnceLock;

use burn::tensor::Tensor;
use rewardscope_models::project;
use rewardscope_store::now_ms;

use crate::device::open_device::{DeviceCalibration, OpenDevice};
use crate::error::EngineError;

/// The faster one of a GPU and the CPU, with the reason. It is measured once in a process or worker.
pub(crate) async fn choose(gpu: OpenDevice) -> Result<OpenDevice, EngineError> {
    static TRIED: OnceLock<DeviceCalibration> = OnceLock::new();
    let calibration = match TRIED.get() {
        Some(calibration) => *calibration,
        None => *TRIED.get_or_init({
            let found = calibrate(&gpu).await?;
            move || found
        }),
    };
    let DeviceCalibration { gpu_gflops, cpu_gflops } = calibration;
    let name = &gpu.report.name;
    let mut chosen = if calibration.prefers_cpu() {
        OpenDevice::cpu(format!(
            "The CPU computes, because it was faster than the GPU ({name}) in a trial of a second: {cpu_gflops:.0} against \
             {gpu_gflops:.0} billion operations a second."
        ))
    } else {
        let reason = format!(
            "The GPU computes: {name}, {gpu_gflops:.0} billion operations a second in a trial, where the CPU made \
             {cpu_gflops:.0}."
        );
        gpu.with_reason(reason)
    };
    chosen.report.calibration = Some(calibration);
    Ok(chosen)
}

/// Measures how fast an open GPU and the CPU are, within about a second.
///
/// # Errors
/// When the GPU fails.
pub async fn calibrate(gpu: &OpenDevice) -> Result<DeviceCalibration, EngineError> {
    let cpu = OpenDevice::cpu(String::new());
    Ok(DeviceCalibration { gpu_gflops: gflops(gpu).await?, cpu_gflops: gflops(&cpu).await? })
}

/// Billions of operations per second in matrix products of a layer's size.
async fn gflops(device: &OpenDevice) -> Result<f64, EngineError> {
    const TOKENS: usize = 256;
    const WIDTH: usize = 1024;
    /// Minimum of milliseconds of a trial; it takes less than three times as long.
    const LEAST_MS: f64 = 100.0;
    let ones = |rows: usize| Tensor::<2>::ones([rows, WIDTH], &device.device);
    let (x, weight) = (ones(TOKENS), ones(WIDTH));
    let products = async |count: usize| {
        let started = now_ms();
        let last = (0..count).fold(x.clone(), |_, _| project(x.clone(), weight.clone(), None));
        device.read_back(last.narrow(0, TOKENS - 1, 1).narrow(1, WIDTH - 1, 1).reshape([1])).await?;
        Ok::<f64, EngineError>(now_ms() - started)
    };
    // The first product also compiles the kernel.
    products(1).await?;
    let (mut count, mut ms) = (1, products(1).await?);
    // Twice as many, until the way to the device and back does not count.
    while ms < LEAST_MS {
        count *= 2;
        ms = products(count).await?;
    }
    // In f64: in the page a usize has 32 bits, which 16 products overflow.
    Ok(2.0 * count as f64 * (TOKENS * WIDTH * WIDTH) as f64 / ms / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{self, DeviceChoice, DeviceKind};

    #[test]
    fn the_faster_device_is_chosen_and_the_reason_said() {
        let gpu = pollster::block_on(device::open(DeviceChoice::Gpu)).expect("an adapter; lavapipe will do");
        let chosen = pollster::block_on(choose(gpu)).expect("a device");
        let calibration = chosen.report.calibration.expect("both were tried");
        println!("{}", chosen.report.reason);
        assert!(calibration.gpu_gflops > 0.0 && calibration.cpu_gflops > 0.0);
        let (kind, word) =
            if calibration.prefers_cpu() { (DeviceKind::Cpu, "faster") } else { (DeviceKind::Gpu, "trial") };
        assert_eq!(chosen.report.kind, kind);
        assert!(chosen.report.reason.contains(word), "{}", chosen.report.reason);
        assert!(DeviceCalibration { gpu_gflops: 9.0, cpu_gflops: 10.0 }.prefers_cpu());
    }
}
