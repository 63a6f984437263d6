//! A Panorama project on disk: what `panorama-cli` makes and the demo deploys.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// The interface of a camera that has yet to be chosen.
const ABSTRACT_CAMERA: &str = "panorama::abstract_rtsp_media_source.rtsp_v1_interface";

/// A project whose packages belong to the account it is to be deployed in.
pub(crate) struct Project {
    root: PathBuf,
    /// `graph.json`, parsed.
    graph: Value,
    /// Its packages.
    pub(crate) packages: Vec<Package>,
}

/// One package of a project.
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// `major.minor`.
    pub(crate) version: String,
    /// `package.json`.
    pub(crate) manifest: PathBuf,
    /// Files below `assets` that it names.
    pub(crate) assets: Vec<PathBuf>,
}

impl Project {
    /// Copies the project at `from` to `to` and gives its packages to `account`, as
    /// `panorama-cli import-application` does (`spec/tools.md` 1.2).
    pub(crate) fn import(from: &Path, to: &Path, account: &str) -> Result<Self> {
        if to.exists() {
            fs::remove_dir_all(to).with_context(|| format!("empty {}", to.display()))?;
        }
        copy_tree(from, to)?;
        let root = to.to_owned();
        let mut packages = Vec::new();
        let mut owners = Vec::new();
        for directory in directories(&root.join("packages"))? {
            let name = file_name(&directory);
            let (owner, rest) = name
                .split_once('-')
                .with_context(|| format!("{name}: a package is <account>-<name>-<version>"))?;
            let renamed = directory.with_file_name(format!("{account}-{rest}"));
            fs::rename(&directory, &renamed)
                .with_context(|| format!("rename {}", directory.display()))?;
            owners.push(owner.to_owned());
            packages.push(Package::read(&renamed, &root.join("assets"))?);
        }
        let graph_dir = directories(&root.join("graphs"))?
            .into_iter()
            .next()
            .with_context(|| format!("{}: there is no graph", root.display()))?;
        let file = graph_dir.join("graph.json");
        let mut text =
            fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        for owner in owners {
            text = text.replace(&format!("{owner}::"), &format!("{account}::"));
        }
        fs::write(&file, &text).with_context(|| format!("write {}", file.display()))?;
        let graph =
            serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))?;
        Ok(Self {
            root,
            graph,
            packages,
        })
    }

    /// The graph as the API takes it.
    pub(crate) fn graph_payload(&self) -> String {
        self.graph.to_string()
    }

    /// Overrides that put `cameras` in the place of the project's abstract camera, and `values` in
    /// the place of the parameter nodes that feed the input ports of those names.
    pub(crate) fn overrides(
        &self,
        account: &str,
        cameras: &[&str],
        values: &[(&str, f32)],
    ) -> Result<Value> {
        let nodes = self.members("nodes");
        let abstract_camera = nodes
            .iter()
            .find(|node| node["interface"] == ABSTRACT_CAMERA)
            .and_then(|node| node["name"].as_str())
            .context("the graph has no abstract camera to put a camera in its place")?;
        let mut new_nodes: Vec<Value> = cameras
            .iter()
            .map(|name| {
                json!({"name": name, "interface": format!("{account}::{name}.{name}"),
                       "launch": "onAppStart"})
            })
            .collect();
        let with: Vec<Value> = cameras.iter().map(|name| json!({"name": name})).collect();
        let mut replaced = vec![json!({"replace": abstract_camera, "with": with})];
        for (port, value) in values {
            let parameter = self.parameter_of(port)?;
            let name = format!("{parameter}_here");
            new_nodes.push(json!({"name": name, "interface": "float32", "value": value}));
            replaced.push(json!({"replace": parameter, "with": [{"name": name}]}));
        }
        let packages: Vec<Value> = cameras
            .iter()
            .map(|name| json!({"name": format!("{account}::{name}"), "version": "1.0"}))
            .collect();
        Ok(json!({"nodeGraphOverrides": {
            "envelopeVersion": "2021-01-01",
            "packages": packages,
            "nodes": new_nodes,
            "nodeOverrides": replaced,
        }}))
    }

    /// The parameter node that feeds an input port.
    fn parameter_of(&self, port: &str) -> Result<String> {
        self.members("edges")
            .iter()
            .find(|edge| {
                edge["consumer"]
                    .as_str()
                    .is_some_and(|c| c.rsplit('.').next() == Some(port))
            })
            .and_then(|edge| edge["producer"].as_str())
            .map(str::to_owned)
            .with_context(|| format!("no parameter of the graph feeds a port {port:?}"))
    }

    fn members(&self, name: &str) -> &[Value] {
        self.graph["nodeGraph"][name]
            .as_array()
            .map_or(&[], Vec::as_slice)
    }

    /// The directory it was imported to.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

impl Package {
    fn read(directory: &Path, assets: &Path) -> Result<Self> {
        let manifest = directory.join("package.json");
        let text = fs::read(&manifest).with_context(|| format!("read {}", manifest.display()))?;
        let document: Value = serde_json::from_slice(&text)
            .with_context(|| format!("read {}", manifest.display()))?;
        let package = &document["nodePackage"];
        let name = package["name"].as_str().map(str::to_owned);
        let name = name.with_context(|| format!("{}: no name", manifest.display()))?;
        let version = package["version"].as_str().unwrap_or("1.0").to_owned();
        let mut files = Vec::new();
        let implementations = package["assets"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|asset| asset["implementations"].as_array().into_iter().flatten())
            .filter(|implementation| implementation["type"] != "system");
        for implementation in implementations {
            for member in ["assetUri", "descriptorUri"] {
                if let Some(file) = implementation[member].as_str() {
                    let path = assets.join(file);
                    ensure!(
                        path.is_file(),
                        "{} names {file}, which is not in assets: build the assets first",
                        manifest.display()
                    );
                    files.push(path);
                }
            }
        }
        Ok(Self {
            name,
            version,
            manifest,
            assets: files,
        })
    }
}

/// The last part of a path, which all paths here have.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn directories(parent: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(parent)
        .with_context(|| format!("list {}", parent.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    Ok(found)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry.with_context(|| format!("list {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &target)?;
        } else {
            fs::copy(&source, &target).with_context(|| format!("copy {}", source.display()))?;
        }
    }
    Ok(())
}
