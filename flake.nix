{
  description = "Holdpoint: no proof of sight, no rollout";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEach = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = forEach (pkgs: {
        default = pkgs.rustPlatform.buildRustPackage {
          pname = "holdpoint";
          version = (builtins.fromTOML (builtins.readFile ./Cargo.toml)).workspace.package.version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          # The end-to-end tests start servers and signal processes; `nix flake check` runs the cores.
          cargoTestFlags = [
            "-p"
            "watchdog-core"
            "-p"
            "agent-gate-core"
          ];
          meta = {
            description = "A gate for autonomous agents that proves telemetry is alive";
            license = nixpkgs.lib.licenses.asl20;
            mainProgram = "holdpoint";
          };
        };
      });

      checks = forEach (pkgs: {
        package = self.packages.${pkgs.system}.default;
      });

      devShells = forEach (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.cargo
            pkgs.clippy
            pkgs.rustc
            pkgs.rustfmt
            pkgs.cargo-deny
            pkgs.python3
            pkgs.prometheus
          ];
        };
      });

      formatter = forEach (pkgs: pkgs.nixfmt-rfc-style);

      nixosModules.default =
        {
          config,
          lib,
          pkgs,
          ...
        }:
        let
          cfg = config.services.holdpoint;
          toml = pkgs.formats.toml { };
        in
        {
          options.services.holdpoint = {
            enable = lib.mkEnableOption "Holdpoint, the gate for autonomous agents";
            package = lib.mkOption {
              type = lib.types.package;
              default = self.packages.${pkgs.system}.default;
            };
            settings = lib.mkOption {
              type = toml.type;
              default = { };
              description = "The content of holdpoint.toml.";
            };
            environmentFile = lib.mkOption {
              type = lib.types.nullOr lib.types.path;
              default = null;
              description = "Secrets that settings name as \${NAME}.";
            };
          };
          config = lib.mkIf cfg.enable {
            systemd.services.holdpoint = {
              description = "Holdpoint: collector, watchdog and agent gate";
              wantedBy = [ "multi-user.target" ];
              after = [ "network.target" ];
              serviceConfig = {
                ExecStart = "${lib.getExe cfg.package} up --config ${toml.generate "holdpoint.toml" cfg.settings} --data-dir /var/lib/holdpoint";
                EnvironmentFile = lib.optional (cfg.environmentFile != null) cfg.environmentFile;
                Restart = "always";
                DynamicUser = true;
                StateDirectory = "holdpoint";
                StateDirectoryMode = "0700";
                NoNewPrivileges = true;
                ProtectSystem = "strict";
                ProtectHome = true;
                PrivateTmp = true;
                PrivateDevices = true;
                ProtectKernelTunables = true;
                ProtectKernelModules = true;
                ProtectControlGroups = true;
                RestrictNamespaces = true;
                RestrictRealtime = true;
                LockPersonality = true;
                MemoryDenyWriteExecute = true;
                CapabilityBoundingSet = "";
                SystemCallArchitectures = "native";
                UMask = "0077";
              };
            };
          };
        };
    };
}
