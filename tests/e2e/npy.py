"""NumPy's array files with the standard library alone (numpy/lib/format.py, version 1.0)."""
import array
import ast
import io
import struct
import zipfile

CODES = {"<f4": "f", "<f8": "d", "|u1": "B", "|i1": "b", "<i4": "i", "<i8": "q", "|b1": "B"}


def dump(values, dims, descr="<f4"):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({', '.join(map(str, dims))}{',' if len(dims) == 1 else ''}), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + array.array(CODES[descr], values).tobytes()


def parse(data):
    """(values, dims) of the bytes of a .npy file."""
    if data[:6] != b"\x93NUMPY":
        raise ValueError("not a .npy file")
    size, start = (struct.unpack("<H", data[8:10])[0], 10) if data[6] == 1 else (struct.unpack("<I", data[8:12])[0], 12)
    header = ast.literal_eval(data[start:start + size].decode())
    if header["fortran_order"]:
        raise ValueError("Fortran order")
    values = array.array(CODES[header["descr"]])
    values.frombytes(data[start + size:])
    return values, list(header["shape"])


def save(path, values, dims, descr="<f4"):
    with open(path, "wb") as file:
        file.write(dump(values, dims, descr))


def load(path):
    with open(path, "rb") as file:
        return parse(file.read())


def save_npz(path, **arrays):
    """arrays: name=(values, dims, descr)."""
    with zipfile.ZipFile(path, "w") as file:
        for name, (values, dims, descr) in arrays.items():
            file.writestr(name + ".npy", io.BytesIO(dump(values, dims, descr)).getvalue())
