//! Devices: how one is asked for, found, opened and reported.

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::wgpu::{WgpuSetup, wgpu};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::{Dtype, Need};

/// The device that the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// The faster one of a hardware GPU and the CPU; the CPU where there is no hardware GPU.
    #[default]
    Auto,
    /// A GPU, even one in software.
    Gpu,
    /// The CPU.
    Cpu,
}

/// The kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// WebGPU in a browser; Vulkan, Metal or DX12 natively.
    Gpu,
    /// burn's Flex backend on the processor.
    Cpu,
}

/// How fast the GPU and the CPU compute the same products.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct DeviceCalibration {
    /// Billions of operations per second on the GPU.
    pub gpu_gflops: f64,
    /// Billions of operations per second on the CPU.
    pub cpu_gflops: f64,
}

impl DeviceCalibration {
    /// Whether the CPU is faster.
    pub fn prefers_cpu(self) -> bool {
        self.cpu_gflops > self.gpu_gflops
    }
}

/// What is known of the device that was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct DeviceReport {
    /// The kind of the device.
    pub kind: DeviceKind,
    /// The adapter's own name, or `CPU`.
    pub name: String,
    /// The graphics API, or `flex`.
    pub backend: String,
    /// Whether the adapter is a GPU emulated in software.
    pub software: bool,
    /// Why this device was taken: a sentence.
    pub reason: String,
    /// How fast the GPU and the CPU were, where both were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<DeviceCalibration>,
}

/// A device that is ready to compute.
#[derive(Debug, Clone)]
pub struct OpenDevice {
    /// burn's handle.
    pub device: Device,
    /// What is known of it.
    pub report: DeviceReport,
    /// Most bytes of weights that it can hold; `None` on a GPU, whose memory is not known beforehand.
    most_bytes: Option<u64>,
    /// Bytes of the largest buffer that one kernel can read; `None` on the CPU.
    most_bound_bytes: Option<u64>,
    failure: Failure,
}

/// An open GPU. It is kept for the whole process or worker.
#[derive(Clone)]
pub(in crate::device) struct Gpu {
    device: Device,
    setup: WgpuSetup,
    failure: Failure,
}

/// The driver's first error, shared by all that use the device.
type Failure = Arc<Mutex<Option<String>>>;

impl Gpu {
    fn new((device, setup): (Device, WgpuSetup)) -> Self {
        let failure = Failure::default();
        // Once the driver has refused anything, later readbacks can return stale memory that looks right. So
        // the first failure is kept, and every later score and load on this device is refused.
        let note = |failure: &Failure| {
            let failure = failure.clone();
            move |said: String| {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(said);
            }
        };
        let noted = note(&failure);
        setup.device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| noted(error.to_string())));
        let noted = note(&failure);
        setup.device.set_device_lost_callback(move |reason, message| {
            noted(format!("the device was lost ({reason:?}): {message}"))
        });
        Self { device, setup, failure }
    }

    /// The device, unless it has failed. Then it stays out of use until the page or the process is started
    /// again.
    fn usable(self) -> Result<Self, String> {
        let failed = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match failed {
            None => Ok(self),
            Some(reason) => Err(format!("the GPU failed before ({reason}); reload the page or start again to use it")),
        }
    }
}

/// An adapter that was found. No device is opened on it yet.
pub(in crate::device) struct Adapter {
    pub(super) name: String,
    pub(super) software: bool,
}

/// Parts of the names of software adapters, in lower case.
const SOFTWARE_ADAPTERS: [&str; 6] = ["swiftshader", "llvmpipe", "lavapipe", "softpipe", "basic render", "warp"];

fn is_software(name: &str) -> bool {
    let name = name.to_lowercase();
    SOFTWARE_ADAPTERS.iter().any(|software| name.contains(software))
}

impl OpenDevice {
    pub(super) fn cpu(reason: String) -> Self {
        Self {
            device: Device::flex(),
            report: DeviceReport {
                kind: DeviceKind::Cpu,
                name: "CPU".to_owned(),
                backend: "flex".to_owned(),
                software: false,
                reason,
                calibration: None,
            },
            most_bytes: Some(platform::memory_bytes()),
            most_bound_bytes: None,
            failure: Failure::default(),
        }
    }

    fn gpu(gpu: Gpu, adapter: Adapter, reason: String) -> Self {
        Self {
            device: gpu.device,
            report: DeviceReport {
                kind: DeviceKind::Gpu,
                name: adapter.name,
                backend: format!("{:?}", gpu.setup.backend),
                software: adapter.software,
                reason,
                calibration: None,
            },
            most_bytes: None,
            most_bound_bytes: Some(gpu.setup.device.limits().max_storage_buffer_binding_size),
            failure: gpu.failure,
        }
    }

    /// The same device, with another reason in its report.
    pub(super) fn with_reason(self, reason: String) -> Self {
        Self { report: DeviceReport { reason, ..self.report.clone() }, ..self }
    }

    /// Checks that a model's weights fit on this device as the type `chosen`. `needs` are the bytes for each
    /// type. A GPU's memory is not known beforehand: there every model may try.
    ///
    /// # Errors
    /// [`EngineError::TooLarge`] where they do not fit, with the type that would fit.
    pub fn fits(&self, model: &str, needs: &[Need], chosen: Dtype) -> Result<(), EngineError> {
        let most_bytes = self.most_bytes.unwrap_or(u64::MAX);
        let too_large = |need: &&Need| need.dtype == chosen && need.weight_bytes > most_bytes;
        let Some(need) = needs.iter().find(too_large) else {
            return Ok(());
        };
        let advice = match needs.iter().find(|other| other.weight_bytes <= most_bytes) {
            Some(other) => format!("load it {}, which needs {} bytes", other.dtype.phrase(), other.weight_bytes),
            None => "choose the GPU or a smaller model".to_owned(),
        };
        let (model, dtype, weight_bytes) = (model.to_owned(), need.dtype.phrase(), need.weight_bytes);
        Err(EngineError::TooLarge { model, dtype, weight_bytes, most_bytes, advice })
    }

    /// Whether it has room for each of two models as `dtype`, but not for both at once.
    pub fn fits_in_turn(&self, [one, other]: [&[Need]; 2], dtype: Dtype) -> bool {
        let bytes = |needs: &[Need]| needs.iter().find(|need| need.dtype == dtype).map_or(0, |need| need.weight_bytes);
        let (one, other) = (bytes(one), bytes(other));
        let fits = |bytes: u64| self.most_bytes.is_none_or(|most| bytes <= most);
        fits(one) && fits(other) && !fits(one + other)
    }

    /// The same device with the room that weights of `weight_bytes` leave.
    pub(crate) fn beside(self, weight_bytes: u64) -> Self {
        Self { most_bytes: self.most_bytes.map(|most| most.saturating_sub(weight_bytes)), ..self }
    }

    /// The same device with less room: `most_bytes` for weights, and `most_bound_bytes` for a buffer that one
    /// kernel reads.
    #[must_use]
    pub fn limited(self, most_bytes: u64, most_bound_bytes: u64) -> Self {
        Self { most_bytes: Some(most_bytes), most_bound_bytes: Some(most_bound_bytes), ..self }
    }

    /// Most bytes of a buffer that one kernel can read; `u64::MAX` on the CPU.
    pub(crate) fn most_bound_bytes(&self) -> u64 {
        self.most_bound_bytes.unwrap_or(u64::MAX)
    }

    /// Checks that the device has not failed.
    ///
    /// # Errors
    /// [`EngineError::DeviceFailed`] once the driver has reported any error.
    pub fn check(&self) -> Result<(), EngineError> {
        match &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(reason) => Err(self.failed(reason)),
        }
    }

    /// Copies a vector's values to the host. Refused when the device has failed at anything before.
    pub(crate) async fn read_back(&self, values: Tensor<1>) -> Result<Vec<f32>, EngineError> {
        let data = values.into_data_async().await.map_err(|e| self.failed(e))?;
        self.check()?;
        data.try_to_vec().map_err(|e| self.failed(format!("{e:?}")))
    }

    /// Waits until the device has done what it was given.
    pub(crate) async fn wait(&self) -> Result<(), EngineError> {
        self.read_back(Tensor::zeros([1], &self.device)).await.map(drop)
    }

    /// The error for a failure of this device.
    pub(crate) fn failed(&self, reason: impl ToString) -> EngineError {
        EngineError::DeviceFailed { device: self.report.name.clone(), reason: one_sentence(&reason.to_string()) }
    }
}

/// Makes one sentence of burn's errors, which are chains over several lines, with repetitions and a backtrace.
fn one_sentence(reason: &str) -> String {
    const MOST_CHARACTERS: usize = 400;
    let lines = reason.lines().map(str::trim).take_while(|line| !line.starts_with("Backtrace"));
    let mut parts: Vec<&str> = Vec::new();
    for line in lines.filter(|line| !line.is_empty() && *line != "Caused by:") {
        if !parts.contains(&line) {
            parts.push(line);
        }
    }
    parts.join(": ").chars().take(MOST_CHARACTERS).collect()
}

#[cfg(not(target_family = "wasm"))]
pub(super) mod platform {
    use std::sync::OnceLock;

    use super::*;

    /// Bytes of the machine's memory.
    pub(super) fn memory_bytes() -> u64 {
        let memory = sysinfo::MemoryRefreshKind::nothing().with_ram();
        match sysinfo::System::new_with_specifics(sysinfo::RefreshKind::nothing().with_memory(memory)).total_memory() {
            // The library does not know this system.
            0 => u64::MAX,
            bytes => bytes,
        }
    }

    static GPU: OnceLock<Result<Gpu, String>> = OnceLock::new();

    fn gpu() -> Result<Gpu, String> {
        GPU.get_or_init(|| {
            Device::wgpu_options()
                .init_with_setup()
                .map(Gpu::new)
                .map_err(|e| format!("no Vulkan, Metal or DX12 adapter could be opened ({e}); install a driver"))
        })
        .clone()
    }

    pub(in crate::device) async fn probe() -> Result<Adapter, String> {
        let info = gpu()?.setup.adapter.get_info();
        let software = info.device_type == wgpu::DeviceType::Cpu || is_software(&info.name);
        Ok(Adapter { name: info.name, software })
    }

    pub(in crate::device) async fn opened(adapter: Adapter, reason: String) -> Result<OpenDevice, String> {
        Ok(OpenDevice::gpu(gpu()?.usable()?, adapter, reason))
    }
}

#[cfg(target_family = "wasm")]
pub(super) mod platform {
    use std::rc::Rc;

    use futures_util::lock::Mutex;
    use js_sys::{Array, Function, Object, Promise, Reflect};
    use wasm_bindgen::{JsCast, JsValue};
    use wasm_bindgen_futures::JsFuture;

    use super::*;

    thread_local! {
        /// The worker's GPU. Whoever asks while it is being opened waits, because it can be opened only once.
        static GPU: Rc<Mutex<Option<Gpu>>> = Rc::default();
    }

    /// Bytes of wasm's memory, which is 4 GiB, without the part that activations need.
    pub(super) fn memory_bytes() -> u64 {
        (4 << 30) - (512 << 20)
    }

    fn get(of: &JsValue, key: &str) -> JsValue {
        Reflect::get(of, &key.into()).unwrap_or(JsValue::UNDEFINED)
    }

    async fn call(of: &JsValue, method: &str, arguments: &Array) -> Result<JsValue, JsValue> {
        let function: Function = get(of, method).dyn_into()?;
        JsFuture::from(Promise::from(function.apply(of, arguments)?)).await
    }

    /// Asks the browser for an adapter without touching wgpu, which panics where `timestamp-query` is missing.
    pub(in crate::device) async fn probe() -> Result<Adapter, String> {
        let gpu = get(&get(&js_sys::global(), "navigator"), "gpu");
        if gpu.is_undefined() {
            return Err("this browser offers no WebGPU here".to_owned());
        }
        let options = Object::new();
        let _ = Reflect::set(&options, &"powerPreference".into(), &"high-performance".into());
        let adapter = call(&gpu, "requestAdapter", &Array::of1(&options))
            .await
            .map_err(|e| format!("the browser refused a WebGPU adapter ({e:?})"))?;
        if adapter.is_null() || adapter.is_undefined() {
            return Err("the browser has WebGPU but found no adapter for it".to_owned());
        }
        let features = get(&adapter, "features");
        let has = |feature: &str| {
            let has: Result<Function, JsValue> = get(&features, "has").dyn_into();
            has.and_then(|has| has.call1(&features, &feature.into())).is_ok_and(|found| found.is_truthy())
        };
        if !has("timestamp-query") {
            return Err("this adapter lacks timestamp-query, without which the GPU path cannot start".to_owned());
        }
        let info = get(&adapter, "info");
        let words: Vec<String> = ["vendor", "architecture", "device", "description"]
            .iter()
            .filter_map(|key| get(&info, key).as_string())
            .filter(|word| !word.is_empty())
            .collect();
        let fallback = get(&adapter, "isFallbackAdapter").is_truthy() || get(&info, "isFallbackAdapter").is_truthy();
        let name = if words.is_empty() { "WebGPU adapter without a name".to_owned() } else { words.join(" ") };
        Ok(Adapter { software: fallback || is_software(&name), name })
    }

    pub(in crate::device) async fn opened(adapter: Adapter, reason: String) -> Result<OpenDevice, String> {
        let own = GPU.with(Rc::clone);
        let mut slot = own.lock().await;
        let gpu = match &*slot {
            Some(gpu) => gpu.clone(),
            None => {
                let opened = Device::wgpu_options().init_with_setup_async().await;
                let gpu = Gpu::new(opened.map_err(|e| format!("the adapter {} gave no device ({e})", adapter.name))?);
                slot.insert(gpu).clone()
            }
        };
        Ok(OpenDevice::gpu(gpu.usable()?, adapter, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_errors_become_one_sentence() {
        let chain = "An error happened\n\nCaused by:\n  An error happened\n\nCaused by:\n  the buffer is gone\nBacktrace:\n  1: x";
        assert_eq!(one_sentence(chain), "An error happened: the buffer is gone");
    }

    #[test]
    fn two_models_may_fit_in_turn_alone() {
        let of = |weight_bytes: u64| vec![Need { dtype: Dtype::Auto, weight_bytes }];
        let device = |most| {
            pollster::block_on(crate::device::open(crate::DeviceChoice::Cpu))
                .expect("a processor")
                .limited(most, u64::MAX)
        };
        let in_turn = |most, one, other| device(most).fits_in_turn([&of(one), &of(other)], Dtype::Auto);
        assert!(in_turn(10, 6, 6) && in_turn(10, 10, 1));
        assert!(!in_turn(10, 5, 5), "both fit at once");
        assert!(!in_turn(10, 11, 1) && !in_turn(10, 1, 11), "one of them fits nowhere");
    }
}
