"""Texts with the level that a person would give them, in English and Vietnamese, sound and misleading ones alike.

Every name, number and key is made up; credentials are put together here, so that no file holds one whole.
"""

import unicodedata
from typing import NamedTuple

from tidemill.core.classification import Level

P, I, C, S = Level.PUBLIC, Level.INTERNAL, Level.CONFIDENTIAL, Level.SECRET  # noqa: E741 - as the column of letters below


class Labelled(NamedTuple):
    """A text, its right level, and the rule that ought to say so where there is one."""

    text: str
    level: Level
    rule: str | None = None


TOKEN = "ghp_" + "x7Kq2mVb9TzR4nWc8YpL3sHd6FgJ1aQeU5oX"
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9." + "eyJ" + "zdWIiOiJoZXJvbiIsInJvbGUiOiJtIn0." + "Qm9vZ2llV29vZ2llMTIzNDU2Nzg5MA"
PEM = "-----BEGIN " + "PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END " + "PRIVATE KEY-----"
AWS = "AKIA" + "Q3EGZ7YTN5XKDW2M"

TEXTS = (
    # Secret: credentials, keys, cards, markings.
    Labelled(f"Why does git push fail with this token?\n{TOKEN}", S, "github-token"),
    Labelled(f"Đây là khóa của tôi, giúp tôi sửa lỗi:\n{PEM}", S, "private-key"),
    Labelled(f"curl -H 'Authorization: Bearer {JWT}' https://api.house/v1", S, "json-web-token"),
    Labelled(f"aws_access_key_id = {AWS}", S, "aws-access-key-id"),
    Labelled("db = connect('postgresql://mill:" + "g7Wq-91tzKp" + "@db.house/mill')", S, "password-in-url"),
    Labelled("password = '" + "r4in&Tide-7781" + "'", S, "password-literal"),
    Labelled("Mật khẩu máy chủ:\nDB_PASSWORD=" + "k9Xq27TzR4nWc8YpL3sHd6", S, "credential-literal"),
    Labelled("Please charge 4111 1111 1111 1111, expiry 04/29.", S, "card-number"),
    Labelled("thẻ của khách là 5555555555554444 nhé", S, "card-number"),
    Labelled("Amex: 3782-822463-10005", S, "card-number"),
    Labelled("amount;card\n12.50;6011111111111117", S, "card-number"),
    Labelled("TOP SECRET\nThe launch is on Monday.", S, "marked-secret"),
    Labelled("TỐI MẬT\nKế hoạch quý ba.", S, "marked-secret"),
    Labelled("Độ mật: Tuyệt mật\nNội dung bàn giao", S, "marked-secret"),
    Labelled("classification: secret\n\nSteps of the merger", S, "marked-secret"),
    Labelled("Đây là tài liệu tối mật của công ty.", S, "marked-secret"),
    # Confidential: people, accounts, markings.
    Labelled("Write a reply to lan.nguyen@congty.vn about the invoice.", C, "email-address"),
    Labelled("From: Maria Lindqvist <maria.lindqvist@harbour.se>", C, "email-address"),
    Labelled("git log says: Author: Minh Tran <minh.tran+dev@mail.house>", C, "email-address"),
    Labelled("Gọi cho anh Dũng số 0912 345 678 trước 5 giờ.", C, "phone-number"),
    Labelled("sđt: 0987654321", C, "phone-number"),
    Labelled("Hotline +84 28 3823 4567 chưa ai nghe máy", C, "phone-number"),
    Labelled("Zalo: +84 (0)90 123 45 67", C, "phone-number"),
    Labelled("số điện thoại 0338.123.456 và 0778-123-456", C, "phone-number"),
    Labelled("Call me at +44 20 7946 0958 tomorrow.", C, "phone-number"),
    Labelled("His number is (415) 555-2671.", C, "phone-number"),
    Labelled("Ring 212-736-5000 and ask for Penn.", C, "phone-number"),
    Labelled("Tel. +49 30 901820", C, "phone-number"),
    Labelled("phone,+6581234567,Singapore", C, "phone-number"),
    Labelled("SSN 536-22-8145 was in the form.", C, "social-security-number"),
    Labelled("CCCD: 079203012345", C, "citizen-number-vn"),
    Labelled("Số căn cước của bà Hoa là 001 168 004 523.", C, "citizen-number-vn"),
    Labelled("CMND số 023456789 cấp ngày 12/03/2010", C, "citizen-number-vn"),
    Labelled("Pay to DE89 3704 0044 0532 0130 00 by Friday.", C, "iban"),
    Labelled("IBAN: GB29NWBK60161331926819", C, "iban"),
    Labelled("FR1420041010050500013M02606", C, "iban"),
    Labelled("CONFIDENTIAL\nQ3 figures, do not forward.", C, "marked-confidential"),
    Labelled("# Confidential\n\nSalaries by grade", C, "marked-confidential"),
    Labelled("This document is confidential and for the board.", C, "marked-confidential"),
    Labelled("Strictly confidential: the draft agreement", C, "marked-confidential"),
    Labelled("// Proprietary and confidential. All rights reserved.", C, "marked-confidential"),
    Labelled("Not for distribution outside the house.", C, "marked-confidential"),
    Labelled("Tài liệu mật, chỉ dành cho ban giám đốc.", C, "marked-confidential"),
    Labelled("MẬT\nBiên bản họp hội đồng", C, "marked-confidential"),
    Labelled("[bảo mật] Danh sách nhân sự", C, "marked-confidential"),
    Labelled("Đây là bí mật kinh doanh của chúng tôi.", C, "marked-confidential"),
    Labelled("Thông tin này không được tiết lộ ra ngoài.", C, "marked-confidential"),
    Labelled("Mức độ mật: mật\nPhương án đấu thầu", C, "marked-confidential"),
    Labelled(unicodedata.normalize("NFD", "Tài liệu mật: quy trình"), C, "marked-confidential"),
    Labelled("Sensitivity: Confidential\nRoadmap", C, "marked-confidential"),
    # Internal: nothing to be found, or marked so; among them what only looks like more.
    Labelled("Write a Python function that reverses a list.", I),
    Labelled("Viết hàm đảo ngược một danh sách bằng Python.", I),
    Labelled("def confidential_files(paths):\n    return [p for p in paths if is_confidential(p)]", I),
    Labelled("How do I store a user's password safely? password = input()", I),
    Labelled("Làm sao để đặt lại mật khẩu trong Django?", I),
    Labelled("Bảo mật thông tin là gì? Hãy giải thích ngắn gọn.", I),
    Labelled("What does confidential computing mean?", I),
    Labelled("Is 'secret' a good name for a branch?", I),
    Labelled("import secrets\ntoken = secrets.token_hex(32)", I),
    Labelled("Contact admin@example.com or root@localhost.", I),
    Labelled("git clone git@github.com:tidemill/tidemill.git", I),
    Labelled("npm install lodash@4.17.21 @types/node@20", I),
    Labelled("@app.route('/items')\n@pytest.fixture\ndef items(): ...", I),
    Labelled("background: url(icon@2x.png)", I),
    Labelled("2026-03-01 12:00:00.123456 INFO started in 1234567890 ns", I),
    Labelled("id = 1234567890123456", I),
    Labelled("timestamps: 1709294400000, 1709298000000", I),
    Labelled("sha256 = 1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32", I),
    Labelled("uuid 018e4c2f-1234-7890-8123-456789012345", I),
    Labelled("pi = 3.14159265358979323846; e = 0.912345678", I),
    Labelled("round(+35236450.64, 1) == +35236450.6", I),
    Labelled("192.168.100.200 and 10.0.0.1:8080 answer", I),
    Labelled("@@ -120,14 +120,16 @@\n+1234567890\n-0987654", I),
    Labelled("SELECT * FROM orders WHERE total BETWEEN 10000000 AND 20000000", I),
    Labelled("ISBN 978-3-16-148410-0 is a book", I),
    Labelled("order 123-45-67890 and part 900-12-3456", I),
    Labelled("0x00000000deadbeef 000000000000", I),
    Labelled("card 4111 1111 1111 1112 fails its check", I),
    Labelled("GB29NWBK60161331926818 fails its check", I),
    Labelled("version 10.15.7, build 20260301.4, port 5432", I),
    Labelled("matrix = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]", I),
    Labelled("Giá là 1.250.000.000 đồng, giảm còn 980.000.000", I),
    Labelled("for internal use only: the deployment runbook", I, "marked-internal"),
    Labelled("Tài liệu lưu hành nội bộ\nQuy trình nghỉ phép", I, "marked-internal"),
    Labelled("const PUBLIC_KEY_URL = '/keys'; public static void main", I),
    Labelled("Tính năng mật mã hóa AES hoạt động thế nào?", I),
    # Public: only what says so itself.
    Labelled("# SPDX-License-Identifier: Apache-2.0\nimport os\n", P, "marked-public"),
    Labelled("/* Licensed under the MIT License. */\nint main() { return 0; }", P, "marked-public"),
    Labelled("Permission is hereby granted, free of charge, to any person obtaining a copy", P, "marked-public"),
    Labelled("Classification: Public\n\nPress release", P, "marked-public"),
    Labelled("CÔNG KHAI\nThông báo tuyển dụng", P, "marked-public"),
    Labelled("# SPDX-License-Identifier: LicenseRef-House\nimport os\n", I),
    Labelled(f"# SPDX-License-Identifier: MIT\nkey = '{TOKEN}'", S, "github-token"),
    Labelled("# SPDX-License-Identifier: MIT\n# by nobody in particular, lan.nguyen@congty.vn", C, "email-address"),
)  # fmt: skip
