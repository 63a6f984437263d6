//! Whatever is killed comes back by itself, and nothing that was acknowledged is lost.
//!
//! One demo for all of it: it takes half a minute to start.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parapet_testkit::demo::Demo;
use parapet_testkit::{processes, wait_for};

/// "Within seconds", with the other tests' load on two cores.
const SECONDS: Duration = Duration::from_secs(30);

#[test]
fn everything_that_is_killed_comes_back_and_acknowledged_writes_stay() -> Result<()> {
    let demo = Demo::start(Path::new(env!("CARGO_BIN_EXE_parapet")), &[])?;

    // Names as the kernel cuts them.
    for worker in [
        "parapet-ingest",
        "parapet-codec",
        "parapet-infer",
        "python3",
    ] {
        let victim = demo
            .processes(worker)
            .into_iter()
            .find(|process| worker != "python3" || process.command.contains("/panorama/"))
            .with_context(|| format!("{worker} does not run"))?;
        processes::kill(&victim)?;
        demo.wait_for_frames(30, SECONDS)
            .with_context(|| format!("after the death of {worker}"))?;
    }

    let agent = demo.process_of("agent")?;
    processes::kill(&agent)?;
    wait_for("the agent's workers to end with it", SECONDS, || {
        let orphans: Vec<_> = processes::all()
            .into_iter()
            .filter(|process| process.name.starts_with("parapet-") && process.parent == 1)
            .collect();
        ensure!(orphans.is_empty(), "{orphans:?}");
        Ok(())
    })?;
    demo.wait_for_frames(30, SECONDS)
        .context("after the death of the agent")?;

    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let name = format!("written-{round}");
        demo.aws(&["panorama", "create-package", "--package-name", &name])?;
        acknowledged.push(name);
        processes::kill(&demo.process_of("server")?)?;
        wait_for("the control plane", SECONDS, || {
            demo.aws(&["sts", "get-caller-identity"])
        })?;
    }
    for name in acknowledged {
        let alias = format!("packageName/{name}");
        demo.aws(&["panorama", "describe-package", "--package-id", &alias])
            .with_context(|| format!("{name} was acknowledged"))?;
    }
    demo.wait_for_frames(30, SECONDS)
        .context("after the deaths of the server")?;
    wait_for("the device to be online again", SECONDS, || {
        let devices = demo.aws(&["panorama", "list-devices"])?;
        let status = &devices["Devices"][0]["DeviceAggregatedStatus"];
        ensure!(status == "ONLINE", "the device is {status}");
        Ok(())
    })?;
    Ok(())
}
