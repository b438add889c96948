//! Errors as Dynamo has them.

use dynamo_backend_common::{BackendError, DynamoError, ErrorType};
use runtime::constraint::ConstraintError;
use runtime::engine::EngineError;

/// A request that no worker of this kind answers.
pub fn invalid(message: impl Into<String>) -> DynamoError {
    error(ErrorType::Backend(BackendError::InvalidArgument), message)
}

/// A field that this worker does not know how to follow.
pub fn unsupported(field: &str) -> DynamoError {
    invalid(format!("`{field}` is not supported by this worker: leave it out"))
}

/// There are too many requests here; another worker may have room.
pub fn busy(max_requests: usize) -> DynamoError {
    error(ErrorType::WorkerOverloaded, format!("this worker has {max_requests} requests already: come again"))
}

/// The engine is gone, or cannot answer any more.
pub fn gone(message: impl Into<String>) -> DynamoError {
    error(ErrorType::Backend(BackendError::EngineShutdown), message)
}

/// What the engine refuses, by whose fault it is.
pub fn of_engine(refused: EngineError) -> DynamoError {
    let message = refused.to_string();
    match refused {
        EngineError::Constraint(ConstraintError::Vocabulary(_)) => unknown(message),
        EngineError::Context { .. }
        | EngineError::EmptyPrompt
        | EngineError::Token { .. }
        | EngineError::Sampling(_)
        | EngineError::Constraint(_)
        | EngineError::Attention(_)
        | EngineError::TimeBudgetNeedsCalibration
        | EngineError::TimeBudgetUnknown { .. }
        | EngineError::TimeBudget { .. }
        | EngineError::Budget { .. } => invalid(message),
        EngineError::Memory { .. } => error(ErrorType::WorkerOverloaded, message),
        EngineError::Broken => gone(message),
        _ => unknown(message),
    }
}

/// A fault of ours.
pub fn unknown(message: impl Into<String>) -> DynamoError {
    error(ErrorType::Backend(BackendError::Unknown), message)
}

fn error(kind: ErrorType, message: impl Into<String>) -> DynamoError {
    let message = message.into();
    // What is not said to be public the front end keeps to itself.
    DynamoError::builder().error_type(kind).message(message.clone()).public_message(message).build()
}
