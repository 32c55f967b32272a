"""Names of countries and of states of the USA: places that others lie in."""

from __future__ import annotations

REGIONS = frozenset(
    name.strip()
    for name in """
    afghanistan, albania, algeria, andorra, angola, argentina, armenia, australia, austria,
    azerbaijan, bahamas, bahrain, bangladesh, barbados, belarus, belgium, belize, benin, bhutan,
    bolivia, bosnia, botswana, brazil, brunei, bulgaria, burkina faso, burundi, cambodia, cameroon,
    canada, cape verde, chad, chile, china, colombia, congo, costa rica, croatia, cuba, cyprus,
    czech republic, czechia, denmark, djibouti, dominican republic, ecuador, egypt, el salvador,
    england, eritrea, estonia, eswatini, ethiopia, fiji, finland, france, gabon, gambia, germany,
    ghana, great britain, greece, greenland, grenada, guatemala, guinea, guyana, haiti, honduras,
    hungary, iceland, india, indonesia, iran, iraq, ireland, israel, italy, ivory coast, jamaica,
    japan, jordan, kazakhstan, kenya, kiribati, kosovo, kuwait, kyrgyzstan, laos, latvia, lebanon,
    lesotho, liberia, libya, liechtenstein, lithuania, madagascar, malawi, malaysia, maldives,
    mali, malta, mauritania, mauritius, mexico, micronesia, moldova, mongolia, montenegro, morocco,
    mozambique, myanmar, namibia, nauru, nepal, netherlands, new zealand, nicaragua, niger,
    nigeria, north korea, north macedonia, northern ireland, norway, oman, pakistan, palau,
    palestine, panama, papua new guinea, paraguay, peru, philippines, poland, portugal, qatar,
    romania, russia, rwanda, samoa, saudi arabia, scotland, senegal, serbia, seychelles,
    sierra leone, slovakia, slovenia, somalia, south africa, south korea, south sudan, spain,
    sri lanka, sudan, suriname, sweden, switzerland, syria, taiwan, tajikistan, tanzania, thailand,
    togo, tonga, trinidad, tunisia, turkey, turkmenistan, uganda, uk, ukraine,
    united arab emirates, united kingdom, united states, uruguay, us, usa, america, uzbekistan,
    vanuatu, venezuela, vietnam, wales, yemen, zambia, zimbabwe, europe, asia, africa,
    alabama, alaska, arizona, arkansas, california, colorado, connecticut, delaware, florida,
    georgia, hawaii, idaho, illinois, indiana, iowa, kansas, kentucky, louisiana, maine, maryland,
    massachusetts, michigan, minnesota, mississippi, missouri, montana, nebraska, nevada,
    new hampshire, new jersey, new mexico, north carolina, north dakota, ohio, oklahoma, oregon,
    pennsylvania, rhode island, south carolina, south dakota, tennessee, texas, utah, vermont,
    virginia, west virginia, wisconsin, wyoming
    """.split(",")
)
"""In lower case. "New York" and "Washington" are left out: mostly the cities are meant."""
