// What a consumer multiplies and keeps, in 8-bit floats (e4m3): logits = query scale * key scale * product.
//
// - Queries are rounded here, a scale for each row; keys less their mean and values were rounded before, a scale for each head.
// - Weights lie between 0 and 256, so that those above 2^-14 of the largest keep all their bits.
// - The tensor cores keep about fourteen bits of a sum of 8-bit products. Over a long sequence that would add up, so the output of
//   every step is summed by itself and added in f32, as the second level of DeepSeek-V3's products (arXiv 2412.19437, section 3.3).
// - A thread's weights of 32 keys are not those that its operand wants, but for the order of keys; values lie in that order
//   (`kernels/quantise_kv.cu`).
#pragma once
#include "../fp8.cuh"
#include "shared.cuh"

namespace {

template <typename C> class Fp8Arithmetic {
    static constexpr int head_dim = C::head_dim;
    static constexpr bool wide = head_dim == 128; // rows of 128 bytes, else of 64
    static constexpr Swizzle row_swizzle = wide ? Swizzle::Bytes128 : Swizzle::Bytes64;
    uint64_t q_operand = 0;
    uint32_t p[step_keys / 8];
    float of_step[head_dim / 2];
    const float sm_scale;
    float logit_scales[2]; // of this thread's rows
    float value_scale;

public:
    float o[head_dim / 2];
    float s[step_keys / 2];
    static constexpr float weight_exponent = 8.f;
    // Weights are at most 448.
    static constexpr float slack = 0.5f;

    __device__ explicit Fp8Arithmetic(const Arguments &args) : sm_scale(args.sm_scale) {}

    __device__ float scale(int row) const { return logit_scales[row] * (sm_scale * log2_e); }
    __device__ float bias_factor(int row) const { return 1.f / logit_scales[row]; }
    __device__ float output_scale() const { return value_scale; }

    // Rounds the queries of the warpgroup, whose first row lies at `q`, in place: they need half the room.
    __device__ void take_queries(const Arguments &args, unsigned char *q, int head, uint32_t barrier) {
        constexpr int chunks = head_dim / 32; // of eight elements, each fourth of a row
        float2 scales = args.kv_scales[head / (args.batch.num_q_heads / args.batch.num_kv_heads)];
        value_scale = scales.y;
        int lane = threadIdx.x % 32, first_row = threadIdx.x % warpgroup / 32 * 16 + lane / 4;
        Vector x[2][chunks];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            int row = first_row + 8 * r;
            float largest = 0.f;
#pragma unroll
            for (int i = 0; i < chunks; ++i) {
                int chunk = lane % 4 + 4 * i;
                unsigned char *at = q + chunk / 8 * C::q_slab_bytes + row * row_bytes + ((chunk % 8) ^ (row % 8)) * 16;
                x[r][i] = load_vector(reinterpret_cast<const __nv_bfloat16 *>(at));
                largest = largest_of(x[r][i], largest);
            }
            Fp8Scale scale(fmaxf(row_max(largest), least_largest));
            logit_scales[r] = scale.scale * scales.x;
#pragma unroll
            for (int i = 0; i < chunks; ++i)
#pragma unroll
                for (int j = 0; j < vector_len; ++j) x[r][i].x[j] *= scale.inverse;
        }
        named_barrier_sync(barrier, warpgroup);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            int row = first_row + 8 * r;
#pragma unroll
            for (int i = 0; i < chunks; ++i) {
                int chunk = lane % 4 + 4 * i, place = chunk / 2 ^ (wide ? row % 8 : row / 2 % 4);
                store_vector(q + row * head_dim + place * 16 + chunk % 2 * 8, x[r][i], 1.f);
            }
        }
        stores_before_async();
        named_barrier_sync(barrier, warpgroup);
        q_operand = operand(shared_address(q), 0, 8 * head_dim, row_swizzle);
    }

    __device__ void start_scores(uint32_t keys) {
        uint64_t k = operand(keys, 0, 8 * head_dim, row_swizzle);
#pragma unroll
        for (int i = 0; i < head_dim / 32; ++i)
            wgmma_e4m3_m64n128k32(s, operand_at(q_operand, i * 32), operand_at(k, i * 32), i > 0);
        wgmma_commit();
    }

    __device__ void start_output(uint32_t values) {
        uint64_t v = operand(values, 0, 8 * block_keys, Swizzle::Bytes64);
#pragma unroll
        for (int i = 0; i < step_keys / 32; ++i) {
            uint64_t columns = operand_at(v, i / 2 * (C::kv_bytes / 2) + i % 2 * 32);
            if constexpr (wide) wgmma_e4m3_m64n128k32(of_step, p + 4 * i, columns, i > 0);
            else wgmma_e4m3_m64n64k32(of_step, p + 4 * i, columns, i > 0);
        }
        wgmma_commit();
    }

    __device__ void pin_output() {
        pin(of_step);
        pin(p);
    }

    __device__ void pack_weights() {
#pragma unroll
        for (int i = 0; i < step_keys / 8; ++i) {
            // Of 32 keys: row 0, row 1, then both for the second half of them.
            const float *x = s + i / 4 * 16 + i % 4 / 2 * 8 + i % 2 * 2;
            p[i] = fp8_quad(x[0], x[1], x[4], x[5]);
        }
    }

    // That of a step, whose weights belong to the maximum that `correction` led to.
    __device__ void add_output(const float (&correction)[2]) {
#pragma unroll
        for (int i = 0; i < head_dim / 2; ++i) o[i] = fmaf(o[i], correction[i / 2 % 2], of_step[i]);
    }

    // `add_output` does.
    __device__ void rescale_output(const float (&)[2]) {}
};

} // namespace
