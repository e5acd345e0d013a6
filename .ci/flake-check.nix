# Evaluates flake.nix with a stand-in for nixpkgs, whose packages are only names. That finds what is misspelt or
# does not fit together; whether nixpkgs has these packages only `nix flake check` can say.
let
  package = name: {
    inherit name;
    type = "derivation";
    outPath = "/stand-in/${name}";
  };
  # All that the flake may ask for.
  names = [
    "apt" "cargo" "cargo-deny" "cargo-nextest" "clippy" "dnsmasq" "dosfstools" "dpkg" "e2fsprogs" "gcc"
    "git" "mmdebstrap" "mtools" "nixfmt-rfc-style" "openssh" "openssl" "qemu" "redis" "rustc" "rustfmt" "skopeo"
    "umoci" "util-linux"
  ];
  genAttrs = names: f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);
  lib = {
    inherit genAttrs;
    licenses = genAttrs [ "mit" "asl20" ] package;
  };
  isPackages = list: builtins.all (it: it.type == "derivation") list;
  pkgs = _: genAttrs names package // {
    inherit lib;
    mkShell = args: assert isPackages args.packages; package "shell";
    writeShellApplication = args: assert isPackages args.runtimeInputs; assert builtins.isString args.text; package args.name;
    rustPlatform.buildRustPackage = args:
      assert builtins.pathExists args.cargoLock.lockFile;
      package "${args.pname}-${args.version}" // {
        overrideAttrs = f: builtins.deepSeq (f args) (package (f args).pname);
      };
  };

  flake = import ../flake.nix;
  self = flake.outputs {
    inherit self;
    nixpkgs = {
      inherit lib;
      legacyPackages = genAttrs [ "x86_64-linux" "aarch64-linux" ] pkgs;
    };
  };
  shown = it: if it ? program then it.program else it.name;
  named = builtins.mapAttrs (_: shown);
in
{
  packages = builtins.mapAttrs (_: named) self.packages;
  checks = builtins.mapAttrs (_: named) self.checks;
  apps = builtins.mapAttrs (_: named) self.apps;
  devShells = builtins.mapAttrs (_: named) self.devShells;
  formatter = named self.formatter;
}
