// What a consumer multiplies and keeps, in bf16: weights are rounded, the output is rescaled whenever a maximum moves.
#pragma once
#include "shared.cuh"

namespace {

template <typename C> class Bf16Arithmetic {
    static constexpr int head_dim = C::head_dim;
    const float scale_; // of logits to base-2 exponents
    uint64_t q_operand = 0;
    uint32_t p[step_keys / 4];

public:
    float o[head_dim / 2];
    float s[step_keys / 2];
    // Weights are multiplied with two to this.
    static constexpr float weight_exponent = 0.f;
    // How far logits may exceed the one that weights are relative to, in base-2 exponents.
    static constexpr float slack = 8.f;

    __device__ explicit Bf16Arithmetic(const Arguments &args) : scale_(args.sm_scale * log2_e) {}

    __device__ float scale(int) const { return scale_; }
    // What biases of logits are multiplied with.
    __device__ float bias_factor(int) const { return 1.f; }
    __device__ float output_scale() const { return 1.f; }

    __device__ void take_queries(const Arguments &, const unsigned char *q, int, uint32_t) {
        q_operand = operand(shared_address(q), 0, 1024);
    }

    __device__ void start_scores(uint32_t keys) {
        uint64_t k = operand(keys, 0, 1024);
#pragma unroll
        for (int i = 0; i < head_dim / 16; ++i) {
            int in_row = i % 4 * 32;
            wgmma_m64n128k16(s, operand_at(q_operand, i / 4 * C::q_slab_bytes + in_row),
                             operand_at(k, i / 4 * C::kv_slab_bytes + in_row), i > 0);
        }
        wgmma_commit();
    }

    __device__ void start_output(uint32_t values) {
        uint64_t v = operand(values, C::kv_slab_bytes, 1024);
#pragma unroll
        for (int i = 0; i < step_keys / 16; ++i) {
            uint64_t rows = operand_at(v, i * 16 * row_bytes);
            if constexpr (head_dim == 128) wgmma_m64n128k16(o, p + 4 * i, rows);
            else wgmma_m64n64k16(o, p + 4 * i, rows);
        }
        wgmma_commit();
    }

    __device__ void pin_output() {
        pin(o);
        pin(p);
    }

    __device__ void pack_weights() {
#pragma unroll
        for (int i = 0; i < step_keys / 4; ++i) p[i] = bf16_pair(s[2 * i], s[2 * i + 1]);
    }

    // The product has added it.
    __device__ void add_output(const float (&)[2]) {}

    __device__ void rescale_output(const float (&correction)[2]) {
#pragma unroll
        for (int i = 0; i < head_dim / 2; ++i) o[i] *= correction[i / 2 % 2];
    }
};

} // namespace
