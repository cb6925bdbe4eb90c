"""Made-up people and numbers for synthetic notes. Check digits are right; nobody is meant."""

from __future__ import annotations

import random
from typing import Final

from appliance.deid import checks

GIVEN: Final = (
    "Ana", "Maria", "Joana", "Francisca", "Antônia", "Adriana", "Juliana", "Márcia", "Fernanda",
    "Patrícia", "Aline", "Sandra", "Camila", "Amanda", "Bruna", "Jéssica", "Letícia", "Júlia",
    "Luciana", "Vanessa", "Mariana", "Gabriela", "Vera", "Vitória", "Larissa", "Cláudia",
    "Beatriz", "Rita", "Luana", "Sônia", "Renata", "Eliane", "José", "João", "Antônio",
    "Francisco", "Carlos", "Paulo", "Pedro", "Lucas", "Luiz", "Marcos", "Luís", "Gabriel",
    "Rafael", "Daniel", "Marcelo", "Bruno", "Eduardo", "Felipe", "Raimundo", "Rodrigo", "Manoel",
    "Mateus", "André", "Fernando", "Fábio", "Leonardo", "Gustavo", "Guilherme", "Leandro",
    "Tiago", "Anderson", "Ricardo", "Márcio", "Jorge", "Sebastião", "Alexandre", "Roberto",
    "Edson", "Diego", "Vítor", "Sérgio", "Cláudio", "Ubirajara", "Iracema", "Zuleica", "Ítalo",
)  # fmt: skip
FAMILY: Final = (
    "Silva", "Santos", "Oliveira", "Souza", "Rodrigues", "Ferreira", "Alves", "Pereira", "Lima",
    "Gomes", "Costa", "Ribeiro", "Martins", "Carvalho", "Almeida", "Lopes", "Soares",
    "Fernandes", "Vieira", "Barbosa", "Rocha", "Dias", "Nascimento", "Andrade", "Moreira",
    "Nunes", "Marques", "Machado", "Mendes", "Freitas", "Cardoso", "Ramos", "Gonçalves",
    "Santana", "Teixeira", "Araújo", "Pinto", "Moura", "Cavalcanti", "Monteiro", "Batista",
    "Campos", "Duarte", "Figueiredo", "Guimarães", "Siqueira", "Tavares", "Vasconcelos", "Prado",
    "Yamamoto", "Schneider", "D'Ávila", "Sant'Anna",
)  # fmt: skip
_MONTHS: Final = (
    "janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto", "setembro",
    "outubro", "novembro", "dezembro",
)  # fmt: skip
_STATES: Final = ("SP", "RJ", "MG", "BA", "PE", "CE", "RS", "PR", "AM", "PA", "DF")
_AREAS: Final = (11, 21, 31, 41, 51, 61, 71, 81, 85, 91, 92, 19, 27)


class People:
    """Draws identifiers; the same seed draws the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - made-up data, no secret

    def pick(self, *choices: str) -> str:
        """Return one of the choices."""
        return self.random.choice(choices)

    def digits(self, count: int) -> list[int]:
        """Return digits that are not all equal."""
        found = [self.random.randrange(10) for _ in range(count)]
        return found if len(set(found)) > 1 else self.digits(count)

    def name(self) -> str:
        """Return a full name, in one of the cases that notes use."""
        given = " ".join(self.random.sample(GIVEN, self.random.choice((1, 1, 2))))
        family = self.random.sample(FAMILY, self.random.choice((1, 2, 2)))
        particle = self.pick(" ", " ", " da ", " de ", " dos ")
        return f"{given}{particle}{' '.join(family)}"

    def cpf(self) -> str:
        """Return a CPF with the right check digits, written in one of the usual ways."""
        d = self.digits(9)
        d.append(checks.mod11_digit(d, range(10, 1, -1)))
        d.append(checks.mod11_digit(d, range(11, 1, -1)))
        t = "".join(map(str, d))
        return self.pick(f"{t[:3]}.{t[3:6]}.{t[6:9]}-{t[9:]}", t, f"{t[:9]}-{t[9:]}")

    def mistyped_cpf(self) -> str:
        """Return a CPF whose last digit is wrong."""
        cpf = self.cpf()
        return cpf[:-1] + str((int(cpf[-1]) + self.random.randint(1, 9)) % 10)

    def cns(self) -> str:
        """Return a provisional CNS (7, 8, 9) with the right sum."""
        while True:
            d = [self.random.choice((7, 8, 9)), *self.digits(13)]
            rest = checks.weighted(d, range(15, 1, -1)) % 11
            if rest != 1:
                t = "".join(map(str, [*d, (11 - rest) % 11]))
                return self.pick(t, f"{t[:3]} {t[3:7]} {t[7:11]} {t[11:]}")

    def cnpj(self) -> str:
        """Return a CNPJ, numeric or alphanumeric."""
        alphabet = self.pick("0123456789", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        root = "".join(self.random.choice(alphabet) for _ in range(8)) + "0001"
        values = [ord(c) - 48 for c in root]
        values.append(checks.mod11_digit(values, (5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)))
        values.append(checks.mod11_digit(values, (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)))
        t = f"{root}{values[12]}{values[13]}"
        return f"{t[:2]}.{t[2:5]}.{t[5:8]}/{t[8:12]}-{t[12:]}"

    def pis(self) -> str:
        """Return a PIS."""
        d = self.digits(10)
        t = "".join(map(str, [*d, checks.mod11_digit(d, (3, 2, 9, 8, 7, 6, 5, 4, 3, 2))]))
        return self.pick(t, f"{t[:3]}.{t[3:8]}.{t[8:10]}-{t[10]}")

    def cnh(self) -> str:
        """Return a driving licence number."""
        d = self.digits(9)
        return "".join(map(str, [*d, *checks.cnh_digits(d)]))

    def titulo(self) -> str:
        """Return a voter's number."""
        d, state = self.digits(8), self.random.randint(1, 28)
        t = (
            "".join(map(str, d))
            + f"{state:02d}"
            + "".join(map(str, checks.titulo_digits(d, state)))
        )
        return self.pick(t, f"{t[:4]} {t[4:8]} {t[8:]}")

    def rg(self) -> str:
        """Return an identity card number."""
        t = "".join(map(str, self.digits(8)))
        return f"{t[:2]}.{t[2:5]}.{t[5:8]}-{self.pick(*'0123456789X')}"

    def phone(self) -> str:
        """Return a phone number, with an area code or without."""
        area, t = self.random.choice(_AREAS), "".join(map(str, self.digits(7)))
        mobile = f"9{self.pick('6', '7', '8', '9')}{t[:3]}-{t[3:]}"
        fixed = f"{self.pick('2', '3', '4')}{t[:3]}-{t[3:]}"
        return self.pick(
            f"({area}) {mobile}", f"({area}) {fixed}", f"({area}){mobile}", f"{area} {mobile}",
            f"+55 {area} {mobile}", mobile, fixed,
        )  # fmt: skip

    def cep(self) -> str:
        """Return a postcode."""
        t = "".join(map(str, self.digits(8)))
        return self.pick(f"{t[:5]}-{t[5:]}", f"{t[:2]}.{t[2:5]}-{t[5:]}")

    def email(self) -> str:
        """Return an address under a domain that nobody owns."""
        user = checks.compact(self.random.choice(GIVEN)).lower()
        return (
            f"{user}.{self.random.randrange(1, 999)}@{self.pick('exemplo.com.br', 'example.com')}"
        )

    def date(self) -> str:
        """Return a date in one of the spellings of Portuguese."""
        day, month = self.random.randint(1, 28), self.random.randint(1, 12)
        year, name = self.random.randint(1935, 2025), _MONTHS[month - 1]
        return self.pick(
            f"{day:02d}/{month:02d}/{year}", f"{day}/{month}/{year}",
            f"{day:02d}/{month:02d}/{year % 100:02d}", f"{day:02d}-{month:02d}-{year}",
            f"{day:02d}.{month:02d}.{year}", f"{year}-{month:02d}-{day:02d}",
            f"{day} de {name} de {year}", f"{day} de {name}", f"{name} de {year}",
            f"{day}/{name[:3]}/{year}", f"1º de {name} de {year}",
        )  # fmt: skip

    def record(self) -> str:
        """Return a record or visit number."""
        t = "".join(map(str, [self.random.randint(1, 9), *self.digits(6)]))
        return self.pick(t, f"{t[:6]}-{t[6]}", f"{t[:4]}{self.random.randint(10, 99)}")

    def council(self) -> str:
        """Return the number of a professional's registration."""
        return f"{self.random.randint(1000, 250000)}"

    def state(self) -> str:
        """Return a state."""
        return self.pick(*_STATES)

    def plate(self) -> str:
        """Return a plate, old or Mercosul."""
        letters = "".join(self.random.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(3))
        d = self.digits(4)
        middle = chr(65 + d[1])
        return self.pick(
            f"{letters}-{d[0]}{d[1]}{d[2]}{d[3]}", f"{letters}{d[0]}{middle}{d[2]}{d[3]}"
        )

    def address(self) -> str:
        """Return a street with its number."""
        street = self.pick("Rua", "Avenida", "Travessa", "Alameda", "Av.")
        name = f"{self.random.choice(FAMILY)} {self.random.choice(FAMILY)}"
        return f"{street} {name}, {self.random.randint(1, 3000)}"
