//! Prints what the driver costs, as one JSON object. `cargo lab bench` builds the driver and runs this.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() {
    use contract::{Lab, costs};
    use std::time::Instant;

    let counted = costs::measure();
    let milliseconds = |requests| costs::teardown(requests).as_secs_f64() * 1000.0;
    let teardown = [1000, 2000, 4000].map(milliseconds);
    let lab = Lab::start();
    let client = lab.client();
    let begun = Instant::now();
    let receives = costs::many(&lab, &client, 10_000);
    let built = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    client.cleanup(contract::APPLICATION).expect("the last cleanup");
    let torn_down = begun.elapsed().as_secs_f64();
    receives.are_cancelled();
    let figures = serde_json::json!({
        "event": "summary",
        "instructions_per_send": counted.instructions_per_send,
        "instructions_per_receive": counted.instructions_per_receive,
        "allocations_per_thousand_transfers": counted.allocations_per_thousand_transfers,
        "bytes_per_pending_request": counted.bytes_per_pending_request,
        "bytes_per_socket": counted.bytes_per_socket,
        "bytes_per_client": counted.bytes_per_client,
        "bytes_idle": counted.bytes_idle,
        "teardown_ms": {"1000": teardown[0], "2000": teardown[1], "4000": teardown[2]},
        "large": {"sockets": 10_000, "pending_requests": 100_000, "built_s": built, "teardown_s": torn_down},
    });
    println!("{figures}");
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {}
