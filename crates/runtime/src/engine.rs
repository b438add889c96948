//! One model, loaded; prompts in, text out.
