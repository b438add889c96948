//! The cost model that a device's times give against times that it was not fitted to.

mod on_device;

use attention::search::CostModel;
use attention::shape::HeadShape;
use cuda::calibrate::{calibrate, compare, kernel};
use cuda::precision::Precision;

#[test]
fn the_fitted_model_predicts_other_plans() {
    let Some(device) = on_device::device() else { return };
    for (q, kv, head_dim, precision) in
        [(32, 8, 128, Precision::Bf16), (14, 2, 64, Precision::Bf16), (32, 8, 128, Precision::Int8)]
    {
        let heads = HeadShape::new(q, kv, head_dim).unwrap();
        let costs = calibrate(&device, heads, precision).unwrap();
        println!("{:?}: {costs:?}", kernel(&device, heads, precision).unwrap());
        assert_eq!(costs.margin, CostModel::default().margin, "policy, no measurement");
        let comparisons = compare(&device, heads, precision, &costs).unwrap();
        for comparison in &comparisons {
            println!("{comparison:?}: {:+.1}%", comparison.error_percent());
        }
        for comparison in comparisons {
            assert!(comparison.error_percent().abs() < 15.0, "{comparison:?}");
        }
    }
}
