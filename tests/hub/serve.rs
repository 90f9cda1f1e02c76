//! The test Hub as a program, for the browsers' tests: `test-hub [PORT]`.

fn main() {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let hub = rewardscope_tests::hub::TestHub::start(port);
    println!("{}", hub.endpoint());
    // It lives as long as whoever started it keeps its standard input open.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}
