"""What a technician is told to do, in English and in Brazilian Portuguese."""

from __future__ import annotations

REMEDIES: dict[str, tuple[str, str]] = {
    "fix.unknown": (
        "{hint} Then run the check again.",
        "{hint} Depois repita a verificação.",
    ),
    "hint.denied": (
        "Run the check as root (sudo).",
        "Execute a verificação como root (sudo).",
    ),
    "hint.no-tool": (
        "Install {tool} from the signed medium.",
        "Instale {tool} a partir da mídia assinada.",
    ),
    "hint.timeout": (
        ("The program hangs: restart the machine; if it hangs again, reseat the card or the disk."),
        ("O programa travou: reinicie a máquina; se travar de novo, reencaixe a placa ou o disco."),
    ),
    "hint.not-recorded": (
        "The recording is incomplete: record the machine again with --record.",
        "A gravação está incompleta: grave a máquina de novo com --record.",
    ),
    "hint.other": (
        "Run as root (sudo) with the driver and the tools of the signed medium installed.",
        "Execute como root (sudo) com o driver e os programas da mídia assinada instalados.",
    ),
    "fix.gpu.count": (
        (
            "Switch off, reseat the cards and their power plugs, enable Above 4G Decoding in "
            "the firmware setup, start again; a card still missing goes back to the supplier."
        ),
        (
            "Desligue, reencaixe as placas e os cabos de energia, ative Above 4G Decoding na "
            "configuração do firmware e ligue de novo; se a placa ainda faltar, devolva ao "
            "fornecedor."
        ),
    ),
    "fix.gpu.model": (
        "Use equal cards of the profile's model; or choose the profile of the cards you have.",
        "Use placas iguais, do modelo do perfil; ou escolha o perfil das placas que tem.",
    ),
    "fix.gpu.memory": (
        (
            "This card is too small for the profile: replace it, or ask `appliance hardware "
            "plan` which model fits."
        ),
        (
            "Esta placa é pequena demais para o perfil: troque-a, ou veja com `appliance "
            "hardware plan` qual modelo cabe."
        ),
    ),
    "fix.gpu.driver": (
        (
            "Install the NVIDIA driver {version} or newer (open kernel module) from the signed "
            "medium with `appliance host provision`, then restart. With Secure Boot, enrol the "
            "module's key."
        ),
        (
            "Instale o driver NVIDIA {version} ou mais novo (módulo aberto) a partir da mídia "
            "assinada com `appliance host provision` e reinicie. Com Secure Boot, registre a "
            "chave do módulo."
        ),
    ),
    "fix.gpu.cuda": (
        "Update the NVIDIA driver: CUDA {version} comes with it.",
        "Atualize o driver NVIDIA: o CUDA {version} vem com ele.",
    ),
    "fix.gpu.kernel_module": (
        (
            "Replace the closed kernel module by the open one (package nvidia-driver-*-open), "
            "then restart: this card is not found by the closed module."
        ),
        (
            "Troque o módulo fechado do kernel pelo aberto (pacote nvidia-driver-*-open) e "
            "reinicie: o módulo fechado não encontra esta placa."
        ),
    ),
    "fix.gpu.pcie_width": (
        (
            "Switch off and move the card to a slot wired x{width} to the processor (see the "
            "board's manual); take out what shares its lanes (an M.2 disk often does); clean "
            "and reseat it."
        ),
        (
            "Desligue e mude a placa para um slot ligado em x{width} ao processador (veja o "
            "manual da placa-mãe); retire o que divide as linhas (muitas vezes um M.2); limpe e"
            " reencaixe."
        ),
    ),
    "fix.gpu.pcie_generation": (
        (
            "Set the slot to generation {generation} (or Auto) in the firmware setup, update "
            "the firmware, and take out riser cables."
        ),
        (
            "Coloque o slot em geração {generation} (ou Auto) na configuração do firmware, "
            "atualize o firmware e retire cabos riser."
        ),
    ),
    "fix.gpu.resizable_bar": (
        "Enable Above 4G Decoding and Resizable BAR in the firmware setup; switch CSM off.",
        "Ative Above 4G Decoding e Resizable BAR na configuração do firmware; desligue o CSM.",
    ),
    "fix.gpu.throttling": (
        (
            "Clean the fans and filters, leave a free slot between the cards, check that every "
            "power plug is fully in and the room is below 27 C."
        ),
        (
            "Limpe ventoinhas e filtros, deixe um slot livre entre as placas, confira se cada "
            "cabo de energia está bem encaixado e se a sala está abaixo de 27 C."
        ),
    ),
    "fix.gpu.temperature": (
        "Improve the air flow: clean the fans, free the vents, cool the room.",
        "Melhore o fluxo de ar: limpe as ventoinhas, libere as saídas, resfrie a sala.",
    ),
    "fix.gpu.power_limit": (
        "Raise the limit: nvidia-smi -pl {watt} (as root), if the power supply allows it.",
        "Aumente o limite: nvidia-smi -pl {watt} (como root), se a fonte permitir.",
    ),
    "fix.gpu.ecc": (
        (
            "Switch ECC on (nvidia-smi -e 1, then restart); with uncorrected errors replace the"
            " card."
        ),
        "Ligue o ECC (nvidia-smi -e 1 e reinicie); com erros não corrigidos, troque a placa.",
    ),
    "fix.gpu.mig": (
        "Switch partitioning off: nvidia-smi -mig 0 (as root), then restart.",
        "Desligue a partição: nvidia-smi -mig 0 (como root) e reinicie.",
    ),
    "fix.cpu.cores": (
        "Use a processor with {cores} cores or give the VM more.",
        "Use um processador com {cores} núcleos ou dê mais à VM.",
    ),
    "fix.cpu.flags": (
        "Use a newer processor; in a VM set the CPU type to host.",
        "Use um processador mais novo; em VM, use o tipo de CPU host.",
    ),
    "fix.cpu.governor": (
        "Set the governor to performance: cpupower frequency-set -g performance.",
        "Use o governador performance: cpupower frequency-set -g performance.",
    ),
    "fix.memory.size": (
        "Add memory modules up to {gib} GiB; check that all modules are seated and seen.",
        ("Instale módulos de memória até {gib} GiB; confira se todos estão encaixados e visíveis."),
    ),
    "fix.disk.system": (
        "Fit an NVMe disk of at least {size} GB for the system.",
        "Instale um disco NVMe de pelo menos {size} GB para o sistema.",
    ),
    "fix.disk.data": (
        "Fit a second disk of at least {size} GB for the data.",
        "Instale um segundo disco de pelo menos {size} GB para os dados.",
    ),
    "fix.disk.free": (
        "Free space on the file system of the appliance's state, or use a larger disk.",
        "Libere espaço no sistema de arquivos do estado do appliance, ou use um disco maior.",
    ),
    "fix.disk.health": (
        "Back up now and replace the named disk before installing.",
        "Faça backup agora e troque o disco indicado antes de instalar.",
    ),
    "fix.disk.encryption": (
        "Nothing before installing: `appliance host provision` encrypts the data disk.",
        "Nada antes de instalar: `appliance host provision` criptografa o disco de dados.",
    ),
    "fix.platform.uefi": (
        "Switch CSM (legacy boot) off in the firmware setup and install the system again.",
        "Desligue o CSM (boot legado) na configuração do firmware e reinstale o sistema.",
    ),
    "fix.platform.secure_boot": (
        (
            "Enable Secure Boot in the firmware setup (standard keys); keep the recovery key at"
            " hand."
        ),
        (
            "Ative o Secure Boot na configuração do firmware (chaves padrão); tenha à mão a "
            "chave de recuperação."
        ),
    ),
    "fix.platform.tpm": (
        "Enable the TPM in the firmware setup (Intel PTT or AMD fTPM), or fit a TPM 2.0 module.",
        (
            "Ative o TPM na configuração do firmware (Intel PTT ou AMD fTPM), ou instale um "
            "módulo TPM 2.0."
        ),
    ),
    "fix.platform.virtualisation": (
        (
            "Install on the machine itself or in a full virtual machine with the cards passed "
            "through; {virt} is not one."
        ),
        (
            "Instale na própria máquina ou em máquina virtual completa com as placas "
            "repassadas; {virt} não é isso."
        ),
    ),
    "fix.platform.os": (
        "Install one of: {systems}, from the medium.",
        "Instale um destes, a partir da mídia: {systems}.",
    ),
    "fix.platform.kernel": (
        "Update the kernel to {version} or newer from the signed medium and restart.",
        "Atualize o kernel para {version} ou mais novo pela mídia assinada e reinicie.",
    ),
    "fix.engine.docker": (
        (
            "Nothing before installing: `appliance host provision` installs it from the medium;"
            " afterwards: systemctl start docker."
        ),
        (
            "Nada antes de instalar: `appliance host provision` instala pela mídia; depois: "
            "systemctl start docker."
        ),
    ),
    "fix.engine.nvidia_runtime": (
        "Nothing before installing: `appliance host provision` sets it up; later run it again.",
        "Nada antes de instalar: `appliance host provision` configura; depois, execute de novo.",
    ),
    "fix.clock.synchronised": (
        (
            "Point the clock at the hospital's NTP server (timedatectl set-ntp true; chrony or "
            "timesyncd), wait a minute: the audit log needs the right time."
        ),
        (
            "Aponte o relógio para o servidor NTP do hospital (timedatectl set-ntp true; chrony"
            " ou timesyncd) e espere um minuto: a trilha de auditoria precisa da hora certa."
        ),
    ),
    "fix.question": (
        "{ask} Then run again with --answer {id}=NUMBER.",
        "{ask} Depois repita com --answer {id}=NÚMERO.",
    ),
    "fix.question.low": (
        "Replace the part: at least {minimum} {unit} are needed.",
        "Troque a peça: são necessários pelo menos {minimum} {unit}.",
    ),
    "fix.recording.complete": (
        "Record the machine again with --record and send the whole folder.",
        "Grave a máquina de novo com --record e envie a pasta inteira.",
    ),
    "fix.disk.system_virtual": (
        "A virtual disk hides what it lies on: see on the host that it is NVMe storage.",
        "Um disco virtual esconde onde está: confira no hospedeiro que é armazenamento NVMe.",
    ),
    "fix.disk.health_virtual": (
        "Virtual disks have no health of their own: watch the disks on the host (smartctl).",
        "Discos virtuais não têm saúde própria: acompanhe os discos no hospedeiro (smartctl).",
    ),
    "hint.driver": (
        "Settle the checks of the driver and its kernel module first.",
        "Resolva antes as verificações do driver e do seu módulo do kernel.",
    ),
}
