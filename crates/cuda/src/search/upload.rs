//! Plans of the host on the device.

use super::arguments::{Arguments, Choice, NUM_FAMILIES};
use super::{DeviceSearch, THREADS, WARPS};
use crate::Error;
use crate::batch::Batch;
use crate::device::{Buffer, Device, Grid};
use crate::kv::KvPages;
use crate::plan::{DevicePlan, STEP_KEYS, extra_rows};
use attention::plan::{HeadPlan, Plan};

/// Columns and centres of the heads of one sequence that a plan of the host wants, on the device.
pub(crate) struct WantedExtras {
    columns: Buffer<i32>,
    choices: Buffer<Choice>,
    centres: bool,
}

impl WantedExtras {
    fn new(device: &Device, plan: &Plan, columns: &[Vec<u32>], column_room: usize) -> Result<Self, Error> {
        let column_room = column_room.next_multiple_of(STEP_KEYS);
        let mut of_heads = vec![0i32; plan.heads.len() * column_room];
        for (slots, columns) in of_heads.chunks_exact_mut(column_room).zip(columns) {
            slots.iter_mut().zip(columns).for_each(|(slot, column)| *slot = *column as i32);
        }
        let choice = |(head, columns): (&HeadPlan, &Vec<u32>)| Choice {
            family: if matches!(head, HeadPlan::Sparse(_)) { 0 } else { NUM_FAMILIES as i32 },
            level: 0,
            columns: columns.len() as i32,
            unused: 0,
            recall: f64::NAN,
            cost: f64::NAN,
        };
        let choices: Vec<Choice> = plan.heads.iter().zip(columns).map(choice).collect();
        let centres = plan.heads.iter().any(|head| matches!(head, HeadPlan::Sparse(plan) if plan.centres()));
        Ok(Self { columns: device.upload(&of_heads)?, choices: device.upload(&choices)?, centres })
    }
}

impl DeviceSearch {
    /// Puts plans of the host on the device, one for each sequence of `batch`, and gathers their columns and centres.
    ///
    /// # Errors
    /// When a plan was made for other queries or other tiles, or there is no room.
    pub fn upload(&self, plans: &[&Plan], kv: &mut KvPages, batch: &Batch) -> Result<DevicePlan, Error> {
        self.upload_with_extras(plans, kv, batch).map(|(plan, _)| plan)
    }

    /// As [`upload`](Self::upload); what was gathered can then be gathered again.
    pub(crate) fn upload_with_extras(
        &self,
        plans: &[&Plan],
        kv: &mut KvPages,
        batch: &Batch,
    ) -> Result<(DevicePlan, Vec<WantedExtras>), Error> {
        let device = self.device();
        batch.check_pages(kv)?;
        Error::check_heads(self.heads, kv.heads())?;
        let (mut plan, columns) = DevicePlan::lists(device, self.heads, self.block_m, plans, batch)?;
        let of_sequence = columns.chunks(self.heads.num_q_heads());
        let wanted = plans.iter().zip(of_sequence);
        let mut wanted = wanted
            .map(|(host, columns)| WantedExtras::new(device, host, columns, plan.column_room()))
            .collect::<Result<Vec<_>, _>>()?;
        for sequence in 0..plans.len() {
            self.summarise(kv, batch, sequence)?;
        }
        self.gather(&mut plan, &mut wanted, kv, batch)?;
        Ok((plan, wanted))
    }

    /// Gathers the columns and centres of plans that were uploaded with them; the means of their blocks are made.
    pub(crate) fn gather(
        &self,
        plan: &mut DevicePlan,
        wanted: &mut [WantedExtras],
        kv: &mut KvPages,
        batch: &Batch,
    ) -> Result<(), Error> {
        let q_heads = self.heads.num_q_heads();
        let rows = extra_rows(plan.column_room(), plan.max_blocks());
        for (sequence, wanted) in wanted.iter_mut().enumerate() {
            let tiles = plan.tiles()[sequence];
            let first_row = sequence * q_heads * rows;
            let elements = first_row * self.heads.head_dim();
            let arguments = Arguments {
                columns: wanted.columns.pointer_mut(),
                choices: wanted.choices.pointer_mut(),
                extras: plan.extras.pointer_mut().offset(first_row),
                k_extras: plan.k_extras.pointer_mut().offset(elements),
                v_extras: plan.v_extras.pointer_mut().offset(elements),
                centres: wanted.centres as i32,
                column_room: (wanted.columns.len() / q_heads) as i32,
                extra_rows: rows as i32,
                ..self.operands(tiles, kv, batch, sequence)?
            };
            let grid =
                Grid { blocks: (rows.div_ceil(WARPS) as u32, q_heads as u32, 1), threads: THREADS, shared_bytes: 0 };
            // SAFETY: `Arguments` mirrors the kernel's; columns are below `kv_len` by the plan's construction, so their
            // pages are in the cache, and the rows written are those of this sequence's heads. Columns and choices may be
            // freed before the kernel has read them: buffers are freed in the stream's order.
            unsafe { self.gather.launch(grid, &arguments)? };
        }
        Ok(())
    }
}
