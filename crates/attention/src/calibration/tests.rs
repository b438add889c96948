//! Files that hold and files that do not.

use super::*;
use crate::shape::HeadShape;

const DEVICE: &str = "Example CPU";
const DATE: &str = "2026-01-31T12:00:00Z";

fn kernel(heads: (usize, usize, usize)) -> GpuKernel {
    GpuKernel {
        device: "Example GPU".into(),
        capability: (9, 0),
        driver_version: 13_000,
        kernel: "attend_sm90".into(),
        block_m: 128,
        heads: HeadShape::new(heads.0, heads.1, heads.2).unwrap(),
    }
}

fn gpu_costs() -> CostModel {
    CostModel { step_us: Some(6.1e-3), tile: 4.5, search_head: 600.0, ..CostModel::default() }
}

fn with_gpus() -> Calibration {
    let gpus = [(kernel((32, 8, 128)), gpu_costs()), (kernel((14, 2, 64)), gpu_costs())];
    Calibration::of_gpus(gpus, DATE).unwrap().or(example())
}

fn example() -> Calibration {
    let costs = CostModel { step_us: Some(1.7), tile: 2.25, ..CostModel::default() };
    let cpu = OfCpu {
        device: DEVICE.into(),
        simd: Simd::Portable.name().into(),
        threads: 2,
        date: DATE.into(),
        entries: vec![Entry::new(64, &costs), Entry::new(128, &costs)],
    };
    Calibration { cpu: Some(cpu), ..Calibration::empty() }
}

fn json() -> serde_json::Value {
    serde_json::to_value(example()).unwrap()
}

fn refused(text: &str, says: &str) {
    let message = Calibration::from_json(text).unwrap_err().to_string();
    assert!(message.contains(says) && message.contains("sparse-accelerate calibrate"), "{message}");
}

#[test]
fn what_was_written_is_read_back() {
    let read = Calibration::from_json(&serde_json::to_string(&example()).unwrap()).unwrap();
    assert_eq!(read, example());
    let costs = read.costs(DEVICE, Simd::Portable, 128).unwrap();
    assert_eq!((costs.us(10.0), costs.tile, costs.margin), (Some(17.0), 2.25, CostModel::default().margin));
}

#[test]
fn another_machine_is_not_this_one() {
    let says = |device, simd, head_dim, words: &str| {
        let message = example().costs(device, simd, head_dim).unwrap_err().to_string();
        assert!(message.contains(words) && message.contains("sparse-accelerate calibrate"), "{message}");
    };
    says("Other CPU", Simd::Portable, 64, "device \"Example CPU\", this is \"Other CPU\"");
    says(DEVICE, Simd::Avx2, 64, "instruction set \"portable\", this is \"avx2+fma\"");
    says(DEVICE, Simd::Portable, 96, "head_dim 96 was not measured (only 64, 128)");
}

#[test]
fn refuses_what_is_no_calibration_of_this_version() {
    let whole = json().to_string();
    for end in [0, 1, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..end], "EOF");
    }
    let changed = |path: &str, value: serde_json::Value| {
        let mut json = json();
        *json.pointer_mut(path).unwrap() = value;
        json.to_string()
    };
    refused(&changed("/format", "x".repeat(9999).into()), "another kind of file");
    refused(&changed("/version", 3.into()), "version 3");
    refused(&changed("/crate_version", "0.0.1".into()), "\"0.0.1\"");
    refused(&changed("/cpu/entries/1/head_dim", 64.into()), "twice");
    refused(&changed("/cpu/entries/0/step_us", 0.0.into()), "step_us is 0");
    refused(&changed("/cpu/entries/0/step_us", serde_json::Value::Null), "null");
    refused(&changed("/cpu/entries/0/tile", (-1.0).into()), "tile is -1");
    refused(&changed("/cpu/entries/0/gathered_step", 1e9.into()), "gathered_step");
    refused(&changed("/cpu/entries/1/probe_block", 1e300.into()), "probe_block");
    refused(&changed("/cpu/entries", "none".into()), "expected a sequence");
    refused(&json().to_string().replace("1.7", "1e999"), "out of range");
    refused(&json().to_string().replace("1.7", "NaN"), "expected");
}

#[test]
fn not_a_number_is_no_cost() {
    let costs = CostModel { step_us: Some(f64::NAN), ..CostModel::default() };
    assert!(costs.check().unwrap_err().to_string().contains("NaN"));
    assert!(CostModel { tile: f64::NAN, ..CostModel::default() }.check().is_err());
    assert_eq!(CostModel::default().check(), Ok(()));
}

#[test]
fn a_file_of_the_first_version_is_read() {
    let mut json = json();
    let file = json.as_object_mut().unwrap();
    let cpu = file.remove("cpu").unwrap();
    file.extend(cpu.as_object().unwrap().clone());
    file["version"] = 1.into();
    for entry in file["entries"].as_array_mut().unwrap() {
        entry.as_object_mut().unwrap().remove("search_head").unwrap();
    }
    assert_eq!(Calibration::from_json(&json.to_string()).unwrap(), example());
    json["gpus"] = serde_json::json!([]);
    refused(&json.to_string(), "unknown field");
}

#[test]
fn cpu_and_gpus_share_a_file() {
    let written = serde_json::to_string(&with_gpus()).unwrap();
    let read = Calibration::from_json(&written).unwrap();
    assert_eq!(read, with_gpus());
    assert_eq!(read.costs(DEVICE, Simd::Portable, 64).unwrap().tile, 2.25);
    assert_eq!(read.gpu_costs(&kernel((32, 8, 128))).unwrap(), gpu_costs());
    // Starting a search takes as long for half the heads, so twice as long for each.
    let halved = read.gpu_costs(&kernel((16, 8, 128))).unwrap();
    assert_eq!(halved, CostModel { search_head: 1200.0, ..gpu_costs() });

    // Measured again, with another driver: one entry of such heads, and the rest as it was.
    let newer = GpuKernel { driver_version: 13_010, ..kernel((32, 8, 128)) };
    let again = Calibration::of_gpus([(newer.clone(), CostModel { tile: 3.0, ..gpu_costs() })], DATE).unwrap().or(read);
    assert_eq!(again.gpu_entries().count(), 2);
    assert_eq!(again.gpu_costs(&newer).unwrap().tile, 3.0);
    assert!(again.gpu_costs(&kernel((32, 8, 128))).is_err());
    assert_eq!(again.entries().count(), 2);
}

#[test]
fn another_gpu_is_not_this_one() {
    let says = |calibration: Calibration, change: &dyn Fn(&mut GpuKernel), words: &str| {
        let mut here = kernel((32, 8, 128));
        change(&mut here);
        let message = calibration.gpu_costs(&here).unwrap_err().to_string();
        assert!(message.contains(words) && message.contains("calibrate --device cuda:N"), "{message}");
    };
    says(example(), &|_| (), "holds no costs of a GPU, this is \"Example GPU\"");
    says(with_gpus(), &|here| here.device = "Other GPU".into(), "device \"Example GPU\", this is \"Other GPU\"");
    says(with_gpus(), &|here| here.capability = (8, 9), "compute capability 9.0, this is 8.9");
    says(with_gpus(), &|here| here.driver_version = 13_020, "driver for CUDA 13.0, this is 13.2");
    says(with_gpus(), &|here| here.heads = HeadShape::new(8, 8, 96).unwrap(), "head_dim 128, 64, this is 96");
    says(with_gpus(), &|here| here.kernel = "attend_sm80".into(), "kernel \"attend_sm90\", this is \"attend_sm80\"");
    says(with_gpus(), &|here| here.block_m = 192, "tiles of 128 queries, this is 192");
    let of_gpus = Calibration::of_gpus([(kernel((32, 8, 128)), gpu_costs())], DATE).unwrap();
    let message = of_gpus.costs(DEVICE, Simd::Portable, 64).unwrap_err().to_string();
    assert!(message.contains("no CPU") && message.contains("sparse-accelerate calibrate"), "{message}");
}

#[test]
fn refuses_gpus_that_cannot_be() {
    let changed = |path: &str, value: serde_json::Value| {
        let mut json = serde_json::to_value(with_gpus()).unwrap();
        *json.pointer_mut(path).unwrap() = value;
        json.to_string()
    };
    refused(&changed("/gpus/0/costs/search_head", (-1.0).into()), "search_head is -1");
    refused(&changed("/gpus/0/costs/step_us", 0.0.into()), "step_us is 0");
    refused(&changed("/gpus/0/heads", serde_json::json!([32, 7])), "32 query heads");
    refused(&changed("/gpus/0/heads", serde_json::json!([0, 0])), "0 query heads");
    refused(&changed("/gpus/0/costs/head_dim", 7.into()), "head_dim 7");
    refused(&changed("/gpus/0/block_m", 0.into()), "tiles of 0");
    refused(&changed("/gpus/1", serde_json::to_value(with_gpus()).unwrap()["gpus"][0].clone()), "listed twice");
    assert!(Calibration::of_gpus([(kernel((32, 8, 128)), CostModel::default())], DATE).is_err(), "no step was timed");
}
