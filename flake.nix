{
  description = "From one cluster.toml to a working Raspberry Pi cluster";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-25.11";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEachSystem =
        f: nixpkgs.lib.genAttrs systems (system: f system nixpkgs.legacyPackages.${system});

      version = (builtins.fromTOML (builtins.readFile ./Cargo.toml)).workspace.package.version;

      # What `cargo xtask doctor` asks for. To run ARM64 programs a NixOS machine also needs
      # boot.binfmt.emulatedSystems = [ "aarch64-linux" ].
      tools =
        pkgs: with pkgs; [
          apt
          cargo
          cargo-deny
          cargo-nextest
          clippy
          dnsmasq
          dosfstools
          dpkg
          e2fsprogs
          gcc
          git
          mmdebstrap
          mtools
          openssh
          openssl
          qemu
          redis
          rustc
          rustfmt
          skopeo
          umoci
          util-linux
        ];

      # The chores of this repository, as `nix run .#vm-test`.
      verbs = [
        "ci"
        "doctor"
        "image"
        "lock"
        "oci"
        "release"
        "vm-test"
      ];
    in
    {
      packages = forEachSystem (
        system: pkgs: {
          default = self.packages.${system}.bramble;
          bramble = pkgs.rustPlatform.buildRustPackage {
            pname = "bramble";
            inherit version;
            src = self;
            cargoLock.lockFile = ./Cargo.lock;
            cargoBuildFlags = [
              "--package"
              "bramble-cli"
              "--package"
              "bramble-search"
            ];
            # They are a check of their own, and need more than a build does.
            doCheck = false;
            meta = {
              description = "Turns one cluster.toml into a working Raspberry Pi cluster";
              license = with pkgs.lib.licenses; [
                mit
                asl20
              ];
              mainProgram = "bramble";
            };
          };
        }
      );

      checks = forEachSystem (
        system: pkgs: {
          bramble = self.packages.${system}.bramble;
          tests = self.packages.${system}.bramble.overrideAttrs (_: {
            pname = "bramble-tests";
            nativeCheckInputs = tools pkgs;
            doCheck = true;
            cargoTestFlags = [ "--workspace" ];
          });
        }
      );

      apps = forEachSystem (
        _: pkgs:
        nixpkgs.lib.genAttrs verbs (verb: {
          type = "app";
          program = "${
            pkgs.writeShellApplication {
              name = "bramble-${verb}";
              runtimeInputs = tools pkgs;
              text = ''exec cargo xtask ${verb} "$@"'';
            }
          }/bin/bramble-${verb}";
        })
      );

      # `nix develop`, then cargo as usual: `nix develop -c cargo xtask vm-test`.
      devShells = forEachSystem (
        _: pkgs: { default = pkgs.mkShell { packages = tools pkgs; }; }
      );

      formatter = forEachSystem (_: pkgs: pkgs.nixfmt-rfc-style);
    };
}
