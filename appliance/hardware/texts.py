"""What the check says to people, in English and in Brazilian Portuguese.

Each entry is (English, pt-BR) with the same fields in braces; a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Callable

from appliance.hardware.texts_plan import PLAN
from appliance.hardware.texts_remedies import REMEDIES

Words = Callable[..., str]
LANGUAGES = ("en", "pt-BR")

_TITLES: dict[str, tuple[str, str]] = {
    "gpu.count": ("Graphics cards", "Placas de vídeo"),
    "gpu.model": ("Card model", "Modelo da placa"),
    "gpu.memory": ("Card memory", "Memória da placa"),
    "gpu.driver": ("NVIDIA driver", "Driver NVIDIA"),
    "gpu.cuda": ("CUDA", "CUDA"),
    "gpu.kernel_module": ("Kernel module", "Módulo do kernel"),
    "gpu.pcie_width": ("PCIe width", "Largura do PCIe"),
    "gpu.pcie_generation": ("PCIe generation", "Geração do PCIe"),
    "gpu.resizable_bar": ("Resizable BAR", "Resizable BAR"),
    "gpu.throttling": ("Throttling", "Redução de velocidade"),
    "gpu.temperature": ("Card temperature", "Temperatura da placa"),
    "gpu.power_limit": ("Power limit", "Limite de potência"),
    "gpu.ecc": ("Card ECC", "ECC da placa"),
    "gpu.mig": ("Card partitioning (MIG)", "Partição da placa (MIG)"),
    "cpu.cores": ("Processor cores", "Núcleos do processador"),
    "cpu.flags": ("Processor features", "Recursos do processador"),
    "cpu.governor": ("Processor governor", "Governador do processador"),
    "memory.size": ("Main memory", "Memória principal"),
    "disk.system": ("System disk", "Disco do sistema"),
    "disk.data": ("Data disk", "Disco de dados"),
    "disk.free": ("Free space", "Espaço livre"),
    "disk.health": ("Disk health", "Saúde dos discos"),
    "disk.encryption": ("Disk encryption", "Criptografia dos discos"),
    "platform.uefi": ("UEFI boot", "Inicialização UEFI"),
    "platform.secure_boot": ("Secure Boot", "Secure Boot"),
    "platform.tpm": ("TPM", "TPM"),
    "platform.virtualisation": ("Virtualisation", "Virtualização"),
    "platform.os": ("Operating system", "Sistema operacional"),
    "platform.kernel": ("Linux kernel", "Kernel Linux"),
    "engine.docker": ("Docker", "Docker"),
    "engine.nvidia_runtime": ("NVIDIA container runtime", "Runtime de contêiner NVIDIA"),
    "clock.synchronised": ("Clock", "Relógio"),
    "question": ("Question to the installer", "Pergunta ao instalador"),
    "recording.complete": ("Recording", "Gravação"),
}

_PHRASES: dict[str, tuple[str, str]] = {
    "unknown": ("not known ({why})", "não se sabe ({why})"),
    "why.denied": ("needs root", "precisa de root"),
    "why.driver": ("the driver does not speak for the cards", "o driver não fala pelas placas"),
    "why.no-tool": ("the program is not installed", "o programa não está instalado"),
    "why.timeout": ("no answer in time", "sem resposta a tempo"),
    "why.failed": ("answered with an error", "respondeu com erro"),
    "why.not-recorded": ("not in the recording", "não está na gravação"),
    "why.silent": ("its answer does not say", "a resposta não diz"),
    "none": ("none", "nenhum"),
    "yes": ("yes", "sim"),
    "no": ("no", "não"),
    "on": ("on", "ligado"),
    "off": ("off", "desligado"),
    "at_least": (">= {value} {unit}", ">= {value} {unit}"),
    "at_most": ("<= {value} {unit}", "<= {value} {unit}"),
    "version_min": (">= {version}", ">= {version}"),
    "cards": ("{count} x {models}", "{count} x {models}"),
    "or": ("or", "ou"),
    "each_card": ("{value} on each card", "{value} em cada placa"),
    "no_driver": ("no driver loaded", "nenhum driver carregado"),
    "open_module": ("open kernel module", "módulo aberto do kernel"),
    "closed_module": ("closed kernel module", "módulo fechado do kernel"),
    "not_throttled": ("full speed", "velocidade plena"),
    "reason_hw": ("hardware slowdown", "redução pelo hardware"),
    "reason_hw_thermal": ("too hot (hardware)", "quente demais (hardware)"),
    "reason_power_brake": ("power brake", "freio de energia"),
    "reason_sw_thermal": ("too hot (driver)", "quente demais (driver)"),
    "no_ecc_errors": ("ECC on, no lasting errors", "ECC ligado, sem erros permanentes"),
    "missing_flags": ("missing: {flags}", "faltam: {flags}"),
    "recommended": (">= {value} GiB, better {more} GiB", ">= {value} GiB, melhor {more} GiB"),
    "disk_min": (">= {value} GB", ">= {value} GB"),
    "disk_min_nvme": ("NVMe >= {value} GB", "NVMe >= {value} GB"),
    "second_disk": ("a second disk >= {value} GB", "um segundo disco >= {value} GB"),
    "no_second_disk": ("no second disk", "nenhum segundo disco"),
    "all_healthy": ("all disks healthy", "todos os discos saudáveis"),
    "disks_failing": ("failing: {disks}", "com falha: {disks}"),
    "encrypted": ("encrypted (LUKS)", "criptografados (LUKS)"),
    "not_encrypted": ("not encrypted: {disks}", "sem criptografia: {disks}"),
    "legacy_boot": ("legacy BIOS boot", "inicialização BIOS legada"),
    "tpm2": ("TPM 2.0", "TPM 2.0"),
    "tpm_other": ("TPM {version}", "TPM {version}"),
    "virt_allowed": ("not {refused}", "não {refused}"),
    "bare_metal": ("none (bare metal)", "nenhuma (máquina física)"),
    "installed": ("installed", "instalado"),
    "not_installed": ("not installed", "não instalado"),
    "synchronised": ("synchronised", "sincronizado"),
    "not_synchronised": ("not synchronised", "não sincronizado"),
    "not_answered": ("not answered", "sem resposta"),
    "all_probes": ("all readings", "todas as leituras"),
    "probes_missing": ("missing: {names}", "faltam: {names}"),
    "status.pass": ("pass", "passou"),
    "status.warn": ("WARN", "AVISO"),
    "status.fail": ("FAIL", "FALHA"),
    "status.unknown": ("UNKNOWN", "DESCONHECIDO"),
    "head.status": ("Status", "Situação"),
    "head.check": ("Check", "Verificação"),
    "head.expected": ("Expected", "Esperado"),
    "head.found": ("Found", "Encontrado"),
    "head.todo": ("What to do", "O que fazer"),
    "verdict.yes": (
        "This machine will do for profile {profile}.",
        "Esta máquina serve para o perfil {profile}.",
    ),
    "verdict.no": (
        "This machine will not do for profile {profile} yet: {fail} failed, {unknown} not known.",
        (
            "Esta máquina ainda não serve para o perfil {profile}: {fail} com falha, "
            "{unknown} desconhecidas."
        ),
    ),
    "root_adds": (
        "Run as root to learn also: {names}.",
        "Execute como root para saber também: {names}.",
    ),
}

TEXTS = {f"title.{k}": v for k, v in _TITLES.items()} | _PHRASES | REMEDIES | PLAN


def words(language: str) -> Words:
    """Return a function that gives the text of a key in ``language`` with its fields filled."""
    column = 1 if language == "pt-BR" else 0

    def say(key: str, **fields: object) -> str:
        return TEXTS[key][column].format(**fields)

    return say


def language_from(environment: dict[str, str], asked: str | None = None) -> str:
    """Choose a language: the one asked for, else LC_ALL, LC_MESSAGES or LANG, else English."""
    if asked:
        return asked
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = environment.get(name)
        if value:
            return "pt-BR" if value.lower().startswith("pt") else "en"
    return "en"
