//! `/openapi.json` says what the server does.

mod answers;
mod fields;
mod generated;
#[path = "../running_server/mod.rs"]
mod running_server;

use running_server::{Server, TAGGED, agent};
use runtime::engine::service::ServiceOptions;
use serde_json::Value;
use server::ServerOptions;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../src/openapi/openapi.json");
const KEY: &str = "secret";
const MAX_REQUESTS: usize = 4;

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// A server of a small context, where hardly anything takes long.
fn server() -> Server {
    let options = ServerOptions {
        api_key: Some(KEY.into()),
        max_requests: MAX_REQUESTS,
        max_body_bytes: 1 << 16,
        ..ServerOptions::default()
    };
    Server::of(512, TAGGED, options, ServiceOptions { max_running: 2, ..ServiceOptions::default() })
}

/// Method and path of each operation.
fn operations() -> BTreeSet<(String, String)> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| -> Vec<_> {
        item.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())).collect()
    };
    paths.iter().flat_map(of_path).collect()
}

/// Method and path of each route of the router.
fn routes() -> BTreeSet<(String, String)> {
    let of_route = |route: &str| {
        let (path, handler) = route.split_once("\", ").unwrap();
        (handler.split('(').next().unwrap().to_owned(), path.replace("{*", "{"))
    };
    include_str!("../../src/lib.rs").split(".route(\"").skip(1).map(of_route).collect()
}

#[test]
fn routes_are_in_the_document_and_the_other_way_round() {
    assert!(routes().len() >= 17, "{:?}", routes());
    assert_eq!(operations(), routes(), "src/openapi/openapi.json, and the router in src/lib.rs");
}

#[test]
fn the_document_is_served_without_a_key_and_is_of_this_version() {
    let server = server();
    let mut response = agent().get(format!("{}/openapi.json", server.url)).call().unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let served: Value = response.body_mut().read_json().unwrap();
    assert_eq!(served, document());
    assert_eq!(served["info"]["version"], env!("CARGO_PKG_VERSION"), "write the version into src/openapi/openapi.json");
}

#[test]
fn paths_without_security_are_those_that_want_no_key() {
    let server = server();
    let document = document();
    for (method, path) in operations() {
        let url = format!("{}{}", server.url, path.replace("{id}", "model"));
        let status = match method.as_str() {
            "get" => agent().get(url).call().unwrap().status(),
            _ => agent().post(url).send_json(serde_json::json!({})).unwrap().status(),
        };
        let is_open = document["paths"][&path][&method]["security"] == serde_json::json!([]);
        assert_eq!(status == 401, !is_open, "{method} {path}: {status}");
    }
}
