"""Patterns of contrast: how descriptions and ContrastBolusAgent say that an agent was given, or was not.

English, German, French, Dutch, Spanish, Portuguese, Italian and some Polish, folded: lower case, no accents.
"""

import re


def _any(text: str) -> str:
    """An alternative of patterns between blanks; "_" stands for a blank in one of them."""
    return "(?:" + "|".join(text.replace("_", r"\W?") for text in text.split()) + ")"


_AGENT = r"(?:(?:iv|i\.v\.?)\W*)?" + _any(
    r"mezzo_di_contrast\w* medio_de_contrast\w* produit_de_contrast\w* pc contrast\w* contr cont cte con kontr\w* "
    r"gad\w* gd km inj\w* mdc mc civ pdc iv ic c dye enhance\w* omni\w* isovue agente? bolus"
)
_WITHOUT = _any(r"without w[/-]?o w\.o\.? ohne sans zonder sin senza sem bez no non not minus")
_PLAIN_WITHOUT = _any("without w[/-]?o ohne sans zonder sin senza sem")
_BEFORE = _any("before pre vor avant voor prima antes przed")
_WITH = _any(r"with w/? mit avec met con com post after nach n\. apres na dopo despues tras plus")
_AND = _any("and und et y e en or plus puis dann")
# A procedure, not an injection, is what came before or after.
_PROCEDURE = (
    _any(
        r"bx biops\w* proc\w* op operat\w* surg\w* treat\w* therap\w* tx rx rt chemo\w* ablat\w* needle clip "
        r"void\w* mort\w* lumpect\w* implant\w* radiat\w* transpl\w* tace embol\w* drain\w* mic\w* stent hd "
        r"exercise stress lavage sat sats saturation fa\d* amp filter scan test monitoring ct mri myelo\w* nac "
        r"neo\w* meno\w* device aspir\w* m(?!\W?dix) hyster\w* \w+ectomy resect\w* excis\w* lapar\w* remov\w*"
    )
    + r"\b"
)
BOTH = re.compile(
    rf"\b(?:{_PLAIN_WITHOUT}|{_BEFORE})\b.{{0,12}}?(?<![a-z])"
    r"(?:w|with|mit|avec|met|post|nach|apres|after)(?!\w|/?o\b)"
    r"|\b(?:sin|senza|sem)\b\W*(?:y|e)?\W*(?:con|com)\b|\bbez\b.{0,4}\bz\b"
    rf"|\b(?:w|with|mit|avec|con|com|met|post)\b/?\s*(?:[-/&+,]|{_AND})*\s*/?(?:{_PLAIN_WITHOUT}|pre)\b"
    r"|\bwith\W+\w{1,2}\W+without\b|\bw\W{0,2}(?:or\W)?\W?w[/-]?o\b|\bwo\W{0,2}w\b|\bwwo\b|\bwow\b|\bc\+\W{0,3}c-|\bc-\W{0,3}c\+"
    rf"|\b{_PLAIN_WITHOUT}\W?\+|\bbez\W?\+|pre\b.{{0,14}}\bpost|\bpost\b.{{0,6}}\bpre\b|\+/-|±"
)
_MARKS = "(?:c|ci|civ|cte|contr\\w*|iv|mdc|ev)"  # S/C, C/CIV: sin, con contraste
# Without something else: fat suppression, a gap, a breath hold.
_ELSE = (
    r"(?![\s-]*(?:fat|fs|sat|supp|spair|gap|asset|sense|grappa|motion|trig|gat|breath|bh|nav|oral|cad|2d|3d|rec|leak))"
)
# Codes of exams end with it: CTCAPC, CTABDPELW.
_CODE = r"\b(?:[a-z]{0,2}ct[a-z]*?(?:ap|abd|pel|pelvis|chest|thorax|neck)|n?cap)"
NO = re.compile(
    rf"\b{_WITHOUT}\W*{_AGENT}\b|\b{_BEFORE}\W*{_AGENT}\b|\bs/\s?{_MARKS}\b"
    r"|(?<![a-z][/.])(?<!p )\bo\.?\s?(?:km|contr\w*)\b|\b"
    + _any(
        r"woc unenhanced nonenhanced non_enhanced noncontrast noncon\w* nonc ncct nect nc nativ\w* kontrast\w*frei\w* "
        r"unverstarkt\w* plain precontrast\w* pregad pregd prec precon blanco tnc prekontrast smdc basal basale "
        r"diretta simple vacio unenh nonenh nce sciv non_infused noninfused"
    )
    + rf"\b|\b(?:without|w/o|w\W?o|wo)\b{_ELSE}|\bpre\b(?![\s-]*{_PROCEDURE})"
    r"|\b(?:ohne|sans|zonder|sin|senza|sem|bez)\s*$|\b(?:agent|contrast)\W+none\b"
    # A minus stands alone: "5mm -C", "C-", "IV-"; "Filter-C" is the name of a kernel, "C-spine" of a part.
    r"|(?:^|\s)-\s?c\b(?!\W*spine)|\b(?<!/)c-(?![\w-])|\bc minus\b|\biv\s?-(?![\w-])|(?:^|\s)-\s?(?:km|ca|gd|civ)\b"
    rf"|\b[ki]-(?=\s|$)|{_CODE}woc?\b"
)
YES = re.compile(
    rf"\b{_WITH}\W{{0,3}}{_AGENT}\b|\bc/\s?{_MARKS}\b(?!/)|\bpost\b(?![\s-]*{_PROCEDURE})"
    r"|\+\s?(?:c|k|km|cm|gd|gad\w*|iv|mdc|ci|civ|cont|contrast\w*|kontr\w*|k\s?\d)\b|\bc\s?\+(?!\d)|\b(?:i|iv)\s?\+(?=\s|$)|\b"
    + _any(
        r"post?contrast\w* postgad postgd postc postcon postkm contrast contraste contrasto "
        r"contrastado contrastada contrasted kontrast\w* kontrascie km gad gado gadolinium gadavist gadovist gd "
        r"magnevist dotarem eovist primovist multihance omniscan prohance enh enha enhan\w* ce cect "
        r"cemra cmdc mdc civ injected injecte\w* infused injection injektion arterial arteriell arterielle arteriel "
        r"arteriosa arteriale arterieel arterienphase tetnic\w* portal portale portaal portalfase portalvenous "
        r"portalvenos portalvenose portalvenoes\w* portalveneus portovenous portovenosa porto wrotna venous\w* venos "
        r"venose venosa veineux venoso veneus zylna zylne nephrographic nephro nefrografica nephrogram "
        r"corticomedullary equilibrio equilibrium equil hepatobiliary parenchymal washout delay delays delayed dly "
        r"late pozne opoznione opozn tardif tardive tardiva tardia tardio spat spate spaet spaete spatphase spatvenos "
        r"excret\w* escret\w* ausscheid\w* uitscheid\w* urographic urographique portoveneus portoveneuze veneuze "
        r"arteriele"
    )
    + r"\b|\b(?<!\d )(?<!\d)cm\b(?!\W*\d)"
)
# In an MR description "W" means weighted, and beside lung or bone it is a window.
YES_IN_CT = re.compile(
    r"\bwith(?!\W*(?:oral|po|locator|out|breath|bh|nav|fat|arms|regist|added|(?:\w+\W+)?imag|formal|biops))\b|\b"
    + _any(
        r"cta ctpa angio\w* pulmonalarteriell\w* pe(?!\W?ct\W?(?:skull|whole)) pv pvp venography runoff urogram "
        r"urography ctu ctv wc aortogram art arteries thrombosis embol\w* [234]\s?-?\s?(?:ph|f)ase\w* "
        r"(?:tri|bi|multi|mehr|drei)(?:ph|f)as\w* uro_(?:ct|tc|tac|scanner) ven del bolus omnipaque isovue optiray "
        r"opti\s?\d* ultravist visipaque iomeron imeron xenetix omni"
    )
    + r"\b|\b\d{2,3}\s?secs?\b|\b\d{1,3}\s?(?:cc|ml)\b|\bp\.\s?v\."
    rf"|{_CODE}(?:c|w|wc|wiv)\b|(?<!needle )\binj\b|\bpor(?=\W*(?:ax|cor|sag|\d))"
    r"|\b(?:abd|abdomen|pel|pelv|pelvis|chest|thorax|thor|neck|head|liver)\+(?=\s|$)|\bcontr\b|\b(?:a|v|d)\s?-?phase\b"
    r"|(?<!lung )(?<!bone )(?<!lng )(?<!tissue )(?<!mediastinal )\bw\b"
    r"(?!/?\s?(?:breath|bh\b|nav|fat|arms|o\b|l\b|b\b|\d*\s?l\s?\d)|/\s?(?:sag|cor|recon|mpr|mip|3d)\w*)"
)
YES_IN_MR = re.compile(r"\b(?:bolus|art|ven|pvp|hbp|omni)\b|\b\d{1,3}\s?(?:cc|ml)\b")
# Dynamic contrast-enhanced, or so long after the injection. A part from before it says so; "dyn" alone is how the phase
# from before is named as often as the whole.
DYNAMIC = re.compile(
    r"\b(?:dce|dsc|twist|tricks|disco|perf|perfusi\w*)\b|(?<!\d )\bph\W?[2-9]\b|\b(?<!x )\d{1,2}\s?mins?\b"
    r"|\b(?:20|30|45|60|70|90|120|180)\s?secs?\b"
)
# Words that look like contrast and are not: phase contrast, a filter, an oral agent, parts of the body.
_ORAL = _any(r"oral\w* oraal po p\.o\.? per_os enteric rectal\w* rektal\w* positive negative")
_MEDIUM = _any(r"contrast\w* kontrast\w* km mdc")
NOT_CONTRAST = re.compile(
    rf"(?:\b{_WITH}\W*)?\b{_ORAL}\W*{_MEDIUM}\b"
    rf"|(?:\b{_WITH}\W*)?\b{_MEDIUM}\W*{_ORAL}\b(?!\W*{_AND}?\W*(?:iv|i\.v|ev)\b)"
    r"|\bphase\W?contrast\w*|\b(?:edge|lung)\W?enh\w*"
    r"|\bcontrast\W+bolus\W+agent\W*(?:no entry|$)"
    r"|\bno\W?delay\w*|\bcontrast\W?(?:ratio|scale|resolution)|\bmulti\W?contrast|\blate\W*(?:effect|follow)\w*"
    r"|\bven\W?bold\b|\bin\W?vivo|(?:^|\s)-\s?gad\w*|\bc\W?/\W?a\W?/\W?p\b|\bc-a-p\b"
)
WITH_ORAL = re.compile(rf"\b(?:iv|i\.v\.)\W*{_AND}?\W*(?:po|oral\w*)\b|\b(?:po|oral\w*)\W*{_AND}?\W*iv\b")
UNENHANCED_FLOW = re.compile(r"\b(?:tof|2dtof|3dtof|swi|pc|venobold|ven\W?bold|qiss|native|p?c?asl)\b")
AGENT_NAMED = re.compile(r"post|gad|km|\+\s?c\b")
# Made without contrast from a scan with it.
VIRTUAL = re.compile(r"\b(?:vnc|virtual non|virtual unenhanced|vue)\b")

# ContrastBolusAgent and -Route
NO_AGENT = re.compile(
    r"(?:none|nil|nein|negative|unenhanced|native?|false|n|-+|0+(?:[.,]0*)?\W*(?:ml|cc)?)"
    rf"|(?:{_WITHOUT}|kein\w*)(?!\W*(?:ionic|oral))\b.*"
)
NOT_SAID = re.compile(r"(?:n/?a|n\.a\.?|unknown|unk|\?+|yes/no|other|see notes?|not specified|unspecified|null|nan|)")
INTRAVENOUS = re.compile(r"\b(?:i\.v\.|(?:iv|ev)\b|intravenous\w*|intraven\w*|endovenos\w*|infusion)")
ELSEWHERE = re.compile(
    r"\b(?:p\.o\.|(?:po|air|eau|co2)\b|per os|telebrix gastro|intra\W?articular|e-?z-?\w+|f-?18|ga-?68|"
    + _any(
        "oral rectal rektal enteric enteral intrathecal gastro barium bario readi volumen breeza water wasser "
        "agua acqua colon saline nacl mannitol lumirem peritrast micropaque tagitol arthro fdg dotatate psma "
        "tracer"
    )
    + ")"
)
KNOWN_AGENT = re.compile(
    r"\b"
    + _any(
        r"omni\w* isov\w* ultravist visip\w* optiray iop\w* iom\w* ioh\w* iod\w* iov\w* ioversol xenetix imeron "
        r"accupaque solutrast oxilan conray hexabrix hypaque telebrix renografin scanlux gad\w* magnev\w* "
        r"multih\w* dotarem clariscan prohance eovist primovist ablavar feraheme vueway elucirem cyclolux dotagraf "
        r"vasovist non_ionic ionic contrast\w* kontrast\w* km applied ce yes ja oui si"
    )
    + r"\b"
)
